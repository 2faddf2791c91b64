"""How well Fettle does: benchmarks of the whole installation, each with its goal, and the scoreboard that shows them.

Nothing imports this package; a number in it is measured on processes started as users start them, never computed from a stand-in.
"""
