"""The `fettle` command: each command parses its arguments, makes one typed call and prints one answer.

No rule about runs and no Temporal option may enter, and nothing heavy is imported before a command runs.
"""
