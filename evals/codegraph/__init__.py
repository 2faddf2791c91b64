"""The code graph's benchmark: cases mined from git history, weights learned from them, and the table of every method.

It measures; what ships is in `codegraph/`. Nothing here is imported by the product.
"""
