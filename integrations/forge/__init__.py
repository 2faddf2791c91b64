"""Forges behind one port: the adapters translate between a forge's words and `domain.forge`.

No decision, no retry and nothing of another integration may enter.
"""
