"""What Fettle remembers in SQL (SQLite or PostgreSQL): the webhook inbox, learnings, registered repositories, costs.

The state of a run never enters (Temporal owns it), nothing but `domain` may be imported, and no rule is decided here.
"""
