"""What Fettle remembers in SQL: the webhook inbox, the learnings, the registered repositories; SQLite or PostgreSQL.

The state of a run never enters (Temporal owns it), nothing but `domain` may be imported, and no rule is decided here.
"""
