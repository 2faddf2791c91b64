"""The HTTP side: the intake of webhooks, and what Kubernetes asks about health.

No rule lives here and no effect is made: a delivery is stored, and it wakes a run that reads the truth for itself.
"""
