"""How an untrusted process is confined: its environment from nothing, its limits, its launcher, and a final end.

No knowledge of an agent, a forge or a workflow may enter; only `domain` may be imported.
"""
