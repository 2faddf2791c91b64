"""One module a command or group of commands; `cli.catalog` names them all.

A command connects through `cli.session` and prints through `cli.render`; nothing here imports another command.
"""
