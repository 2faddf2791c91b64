"""A repository's WORKFLOW.md: read with every mistake at its line, and its template rendered in bounded time.

No policy is made here, no file is fetched here, and nothing of the file is run here.
"""
