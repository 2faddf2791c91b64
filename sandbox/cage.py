"""The last step before an untrusted program, inside its sandbox: take away from this process, then become the program.

Run as `python -I -S cage.py RULES -- PROGRAM ARGUMENT...`, standard library only. RULES is JSON: `read` and `write` are
paths for Landlock; `unix_sockets` false refuses to make Unix sockets. 127: the program does not exist, 126: it cannot
be executed, 125: the rules could not be put in force, and then nothing was run.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

# Run by its path in isolated mode, where nothing of ours is found; last, so that nothing of the library is hidden.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from sandbox import landlock, seccomp

_REFUSED = 125


def main(arguments: list[str]) -> NoReturn:
    """Never returns: the process becomes the program."""
    rules, dashes, *argv = arguments
    if dashes != "--" or not argv:
        _end(_REFUSED, "usage: cage.py RULES -- PROGRAM [ARGUMENT...]")
    try:
        _enter(json.loads(rules))
    except (OSError, LookupError, ValueError) as refused:
        _end(_REFUSED, f"{argv[0]} was not started, its sandbox could not be closed: {refused}")
    for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(each, signal.SIG_DFL)  # Python ignores SIGPIPE, and a program would inherit that
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        _end(127 if isinstance(error, FileNotFoundError) else 126, f"{argv[0]} cannot be started: {error.strerror}")


def _enter(rules: dict[str, Any]) -> None:
    landlock.restrict(rules["read"], rules["write"])
    if not rules.get("unix_sockets", True):
        seccomp.install(seccomp.program(unix_sockets=False))


def _end(code: int, words: str) -> NoReturn:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
