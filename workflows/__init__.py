"""Temporal workflows: they sequence the decisions of `domain` and call activities by typed reference.

No I/O, no clock of their own, no rule that `domain` could hold; imported inside the workflow sandbox, so keep it small.
"""
