(function_declaration name: (identifier) @name) @function
(generator_function_declaration name: (identifier) @name) @function
(class_declaration name: (identifier) @name) @class
(class_heritage) @bases
(method_definition name: [(property_identifier) (private_property_identifier) (string) (number)] @name) @method
(field_definition
  property: [(property_identifier) (private_property_identifier)] @name
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
(jsx_opening_element name: [(identifier) @component (member_expression property: (property_identifier) @component)])
(jsx_self_closing_element
  name: [(identifier) @component (member_expression property: (property_identifier) @component)])

(import_statement) @import
(export_statement source: (string)) @import
(call_expression function: (import) arguments: (arguments . (string))) @import
(call_expression function: (identifier) arguments: (arguments . (string))) @require
(variable_declarator
  name: (object_pattern)
  value: (call_expression function: (identifier) arguments: (arguments . (string)))) @require
