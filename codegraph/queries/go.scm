(function_declaration name: (identifier) @name) @function
(method_declaration
  receiver: (parameter_list
    (parameter_declaration
      type: [
        (type_identifier) @owner
        (generic_type type: (type_identifier) @owner)
        (pointer_type [(type_identifier) @owner (generic_type type: (type_identifier) @owner)])
      ]))
  name: (field_identifier) @name) @method
(type_spec name: (type_identifier) @name type: (struct_type)) @class
(type_spec name: (type_identifier) @name type: (interface_type)) @interface
(type_spec name: (type_identifier) @name) @type
(type_alias name: (type_identifier) @name) @type
(struct_type (field_declaration_list (field_declaration !name type: (_) @bases)))
(interface_type (type_elem . (_) @bases .))
(source_file (const_declaration (const_spec name: (identifier) @name) @constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @constant))
(source_file (var_declaration (var_spec_list (var_spec name: (identifier) @name) @constant)))

(call_expression
  function: [
    (identifier) @call
    (selector_expression field: (field_identifier) @call)
  ])
(composite_literal
  type: [
    (type_identifier) @call
    (qualified_type name: (type_identifier) @call)
    (generic_type type: (type_identifier) @call)
  ])

(import_spec) @import
(package_clause (package_identifier) @package)
