"""Replaces itself by a program that cannot outlive its parent: `python -I -S tether.py PARENT SIGNAL PROGRAM ARG...`.

Standard library only. A program of its own, because setting this between fork and exec of a process with threads could
deadlock, and a Temporal client has many. The kernel keeps the setting across execve, unless the program is setuid.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, number: int, argv: list[str]) -> None:
    """Become `argv`, which gets signal `number` when process `parent` ends in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(f"the parent {parent} ended before {argv[0]} could be started")
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
