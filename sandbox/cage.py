"""The last step before an untrusted program, inside its sandbox: take away from this process, then become the program.

Run as `python -I -S cage.py RULE... -- PROGRAM ARGUMENT...`, standard library only, and little of it: every import is
paid for by every start. A rule is `r PATH` or `w PATH`, what may be read or written, for Landlock; `u -`, the
filter of system calls without Unix sockets; or `s -`, that filter without System V's kinds of memory. 127: the program
does not exist, 126: it cannot be executed, 125: the rules could not be put in force, and then nothing was run.
"""

import os
import signal
import sys

# Run by its path in isolated mode, where nothing of ours is found; last, so that nothing of the library is hidden.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from sandbox import landlock

_REFUSED = 125


def main(arguments: list[str]) -> None:
    """Never returns: the process becomes the program, or ends."""
    try:
        end = arguments.index("--")
        kinds, values, argv = arguments[:end:2], arguments[1:end:2], arguments[end + 1 :]
        _enter(list(zip(kinds, values, strict=True)))
    except (OSError, LookupError, ValueError) as refused:
        _end(_REFUSED, f"nothing was started, the sandbox could not be closed: {refused}")
    for each in signal.valid_signals():
        try:
            signal.signal(each, signal.SIG_DFL)  # Python ignores SIGPIPE, and a program would inherit that
        except (OSError, ValueError):
            continue
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        _end(127 if isinstance(error, FileNotFoundError) else 126, f"{argv[0]} cannot be started: {error.strerror}")


def _enter(rules: list[tuple[str, str]]) -> None:
    landlock.restrict([path for kind, path in rules if kind == "r"], [path for kind, path in rules if kind == "w"])
    if ("u", "-") in rules or ("s", "-") in rules:
        from sandbox import seccomp

        segment = seccomp.SMALL_SEGMENT if ("s", "-") in rules else None
        seccomp.install(seccomp.program(unix_sockets=("u", "-") not in rules, segment=segment))


def _end(code: int, words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
