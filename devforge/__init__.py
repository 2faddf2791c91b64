"""A small GitHub-compatible forge on real git, with CI and signed webhooks, for demos, tests and offline use.

It stands alone: nothing of ours may be imported here, and everybody else reaches it by HTTP only.
"""
