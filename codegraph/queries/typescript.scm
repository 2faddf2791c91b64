(function_declaration name: (identifier) @name) @function
(generator_function_declaration name: (identifier) @name) @function
(function_signature name: (identifier) @name) @function
(class_declaration name: (type_identifier) @name) @class
(abstract_class_declaration name: (type_identifier) @name) @class
(interface_declaration name: (type_identifier) @name) @interface
(type_alias_declaration name: (type_identifier) @name) @type
(enum_declaration name: (identifier) @name) @type
(internal_module name: [(identifier) (nested_identifier)] @name) @namespace
(class_heritage) @bases
(extends_type_clause) @bases
(method_definition name: [(property_identifier) (private_property_identifier) (string) (number)] @name) @method
(abstract_method_signature name: [(property_identifier) (private_property_identifier)] @name) @method
(public_field_definition
  name: [(property_identifier) (private_property_identifier)] @name
  value: [(arrow_function) (function_expression)]) @method
(pair
  key: [(property_identifier) (string)] @name
  value: [(arrow_function) (function_expression) (generator_function)]) @method
(variable_declarator
  name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)]) @function
(variable_declarator name: (identifier) @name value: (class)) @class
(assignment_expression
  left: [(identifier) @name (member_expression property: (property_identifier) @name)]
  right: [(arrow_function) (function_expression) (generator_function)]) @function
(assignment_expression
  left: [(identifier) @name (member_expression property: (property_identifier) @name)]
  right: (class)) @class
(arguments (function_expression name: (identifier) @name) @function)
(program (lexical_declaration (variable_declarator name: (identifier) @name) @constant))
(program (variable_declaration (variable_declarator name: (identifier) @name) @constant))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name) @constant)))
(decorator) @prefix

(call_expression
  function: [
    (identifier) @call
    (member_expression property: [(property_identifier) (private_property_identifier)] @call)
  ])
(new_expression constructor: [(identifier) @call (member_expression property: (property_identifier) @call)])

(import_statement) @import
(export_statement source: (string)) @import
(call_expression function: (import) arguments: (arguments . (string))) @import
(call_expression function: (identifier) arguments: (arguments . (string))) @require
(variable_declarator
  name: (object_pattern)
  value: (call_expression function: (identifier) arguments: (arguments . (string)))) @require
