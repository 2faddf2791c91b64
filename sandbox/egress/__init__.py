"""The way out of a sandbox: a proxy that decides by name and address, keeps evidence, and holds the model's key.

No knowledge of an agent, a forge or a workflow may enter; only `domain` may be imported.
"""
