"""How well Fettle does: benchmarks, each with its goal, and the scoreboard that shows them.

Nothing but its own tests imports this package; its numbers are measured on processes started as users start them, and
what is measured of one part alone says so.
"""
