(function_definition name: (identifier) @name) @function
(class_definition name: (identifier) @name superclasses: (argument_list)? @bases) @class
(module (expression_statement (assignment left: (identifier) @name) @constant))
(type_alias_statement left: (type . (_) @name)) @type
(decorator) @prefix

(call function: [(identifier) @call (attribute attribute: (identifier) @call)])
(decorator [(identifier) @call (attribute attribute: (identifier) @call)])

(import_statement) @import
(import_from_statement) @import
