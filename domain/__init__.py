"""The vocabulary and every decision of Fettle: pydantic models and pure functions over facts.

No I/O, no Temporal client, no clock, no randomness, and nothing of ours may be imported here.
"""
