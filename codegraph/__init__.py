"""An index of a repository's code: where to look, what a change can break, and which two changes will collide.

It imports nothing of ours and calls no model; what it says is a pure function of git objects and of its own weights.
"""
