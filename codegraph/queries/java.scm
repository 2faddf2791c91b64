(class_declaration name: (identifier) @name) @class
(record_declaration name: (identifier) @name) @class
(enum_declaration name: (identifier) @name) @class
(interface_declaration name: (identifier) @name) @interface
(annotation_type_declaration name: (identifier) @name) @interface
(superclass) @bases
(super_interfaces) @bases
(extends_interfaces) @bases
(method_declaration name: (identifier) @name) @method
(constructor_declaration name: (identifier) @name) @method
(compact_constructor_declaration name: (identifier) @name) @method
(annotation_type_element_declaration name: (identifier) @name) @method
(field_declaration
  (modifiers "static" "final")
  declarator: (variable_declarator name: (identifier) @name)) @constant
(constant_declaration declarator: (variable_declarator name: (identifier) @name)) @constant

(method_invocation name: (identifier) @call)
(method_reference (identifier) @call .)
(object_creation_expression
  type: [
    (type_identifier) @call
    (scoped_type_identifier (type_identifier) @call .)
    (generic_type [(type_identifier) @call (scoped_type_identifier (type_identifier) @call .)])
  ])
(marker_annotation name: (identifier) @call)
(annotation name: (identifier) @call)

(import_declaration) @import
(package_declaration [(scoped_identifier) (identifier)] @package)
