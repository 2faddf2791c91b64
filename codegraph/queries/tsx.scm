(jsx_opening_element name: [(identifier) @component (member_expression property: (property_identifier) @component)])
(jsx_self_closing_element
  name: [(identifier) @component (member_expression property: (property_identifier) @component)])
