"""The outside world behind small ports: forges, agent CLIs, git. No decision is taken here.

Only `domain` may be imported; a port raises the errors of `domain.errors` and never retries behind its caller's back.
"""
