"""Side effects, one module a pipeline stage; every activity is safe to run twice and says how.

Decisions are the domain's; nothing here may import `workers`, `web`, `cli` or a workflow.
"""
