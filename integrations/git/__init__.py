"""Git for the worker: one hardened runner, a bare mirror per repository, the clones that agents work in, the import.

No git process may be started in a directory that an agent could write, and nothing here decides what a run does next.
"""
