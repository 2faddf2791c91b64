"""How well Fettle does: benchmarks of the whole installation, each with its goal, and the scoreboard that shows them.

Nothing imports this package; its numbers are measured on processes started as users start them, never on stand-ins.
"""
