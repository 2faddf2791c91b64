(class name: [(constant) (scope_resolution)] @name superclass: (superclass (_) @bases)?) @class
(module name: [(constant) (scope_resolution)] @name) @module
(method name: (_) @name) @function
(singleton_method name: (_) @name) @function
(assignment left: (constant) @name) @constant

(call method: [(identifier) (constant)] @call)

(call !receiver method: (identifier) arguments: (argument_list . [(constant) (scope_resolution)])) @mixin
(call !receiver method: (identifier) arguments: (argument_list . [(string) (simple_symbol) (call)])) @require
