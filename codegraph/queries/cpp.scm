(function_declarator
  declarator: [
    (field_identifier)
    (qualified_identifier)
    (destructor_name)
    (operator_name)
    (template_function)
  ] @name)
(function_definition declarator: (operator_cast) @name)
(class_specifier name: [(type_identifier) (template_type) (qualified_identifier)] @name body: (_)) @class
(struct_specifier name: [(template_type) (qualified_identifier)] @name body: (_)) @class
(base_class_clause) @bases
(namespace_definition name: (_) @name) @module
(alias_declaration name: (type_identifier) @name) @type
(concept_definition name: (identifier) @name) @type
(template_declaration parameters: (template_parameter_list) @prefix)

(call_expression
  function: [
    (qualified_identifier name: (identifier) @call)
    (qualified_identifier name: (qualified_identifier name: (identifier) @call))
    (qualified_identifier name: (template_function name: (identifier) @call))
    (template_function name: (identifier) @call)
    (field_expression field: (template_method name: (field_identifier) @call))
  ])
(new_expression type: [(type_identifier) @call (qualified_identifier name: (type_identifier) @call)])
