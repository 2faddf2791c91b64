"""Starts git, and nothing else: one command and its output, or one process that answers for many objects.

Nothing of a repository is trusted. Its configuration cannot start a program (no hook, filter, text conversion, pager or
transport runs), replaced objects are not followed, missing ones are never fetched, and output is bounded.
"""

import contextlib
import os
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Final, NamedTuple

SECONDS: Final = 300.0
"""How long one command may take."""
MOST: Final = 1 << 29
"""Bytes of output above which a command is given up: more than the listing of a million files."""

_ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": os.devnull,
    "XDG_CONFIG_HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_INDEX_FILE": f"{os.devnull}.index",  # there is none: attributes of what is checked out would be read from it
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_SSH_COMMAND": "false",
    "GIT_ASKPASS": "false",
    "GIT_PAGER": "cat",
}
_CONFIG: Final = (
    "protocol.allow=never",
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.quotePath=false",
    "advice.graftFileDeprecated=false",  # a page of advice that would stand in the place of what went wrong
    "i18n.logOutputEncoding=UTF-8",
    "safe.directory=*",  # nothing of the repository is executed, so whose it is does not matter
)
_BATCH: Final = 400  # names of objects a request: a pipe takes them all before the first answer is read
_LONGEST: Final = 150  # bytes of one name, so that a batch of them fits
_LONGEST_ALONE: Final = 4_096


class Error(Exception):
    """Git could not answer.

    Attributes:
        command: The git command, such as `ls-tree`.
        detail: What went wrong, on one line, at most 300 characters.
    """

    def __init__(self, command: str, detail: str) -> None:
        super().__init__(f"git {command} failed: {detail}: see that the repository is whole and readable")
        self.command = command
        self.detail = detail


class Object(NamedTuple):
    """One object as a session gives it.

    Attributes:
        id: Its id.
        kind: `blob`, `tree`, `commit` or `tag`.
        size: Its bytes.
        data: Its contents; None when they were not asked for, or are larger than what was asked for.
    """

    id: str
    kind: str
    size: int
    data: bytes | None


def run(options: Sequence[str], asked: Sequence[str], stdin: bytes = b"") -> bytes:
    """The output of one git command.

    Args:
        options: Options of git itself, such as `--git-dir`.
        asked: The command and its arguments.
        stdin: What it reads.

    Raises:
        Error: It failed, took too long or printed too much.
    """
    try:
        process = _start(options, asked, stderr=subprocess.PIPE)
    except OSError as error:
        raise Error(asked[0], f"git cannot be started ({error.strerror})") from error
    with process:
        clock = threading.Timer(SECONDS, process.kill)
        clock.start()
        try:
            said, output = _talk(process, stdin)
        finally:
            clock.cancel()
            process.kill()
    if len(output) > MOST:
        raise Error(asked[0], f"it printed more than {MOST} bytes")
    if process.returncode != 0:
        raise Error(asked[0], said or f"exit status {process.returncode}")
    return output


class Session:
    """One `git cat-file` that stays, for few objects at a time. Safe to share between threads.

    It is started by the first question and again when it has died, and ends with this object.
    """

    def __init__(self, options: Sequence[str], *, contents: bool) -> None:
        self._options = [*options]
        self._asked = ["cat-file", "--batch" if contents else "--batch-check"]
        self._lock = threading.Lock()
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Session] | None = None

    def get(self, names: Sequence[str], limit: int = MOST) -> list[Object | None]:
        """The objects of some names, in their order; None where there is none.

        Args:
            names: Any names that git knows for objects.
            limit: Bytes above which contents are passed over.

        Raises:
            Error: Git could not answer.
        """
        with self._lock:
            try:
                return self._get(names, limit)
            except (Error, OSError):
                self._close()  # a process that was idle may have been ended by others
            try:
                return self._get(names, limit)
            except OSError as error:
                self._close()
                raise Error("cat-file", f"it cannot be asked ({error.strerror})") from error

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._close()

    def _get(self, names: Sequence[str], limit: int) -> list[Object | None]:
        if self._process is None or self._owner != os.getpid():  # a forked process must not use that of its parent
            self._owner = os.getpid()
            self._process = _start(self._options, self._asked)
            self._end = weakref.finalize(self, _finish, self._process)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        contents = self._asked[-1] == "--batch"
        try:
            return list(ask(names, self._process.stdin, self._process.stdout, limit, contents=contents))
        except BaseException:  # answers that nobody read would be taken for those to the next question
            self._close()
            raise

    def _close(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None


@contextlib.contextmanager
def process(options: Sequence[str], asked: Sequence[str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Input and output of one git command that runs for as long as the block.

    Raises:
        Error: It cannot be started.
    """
    try:
        started = _start(options, asked)
    except OSError as error:
        raise Error(asked[0], f"git cannot be started ({error.strerror})") from error
    assert started.stdin is not None
    assert started.stdout is not None
    try:
        yield started.stdin, started.stdout
    finally:
        _finish(started)


def ask(
    names: Sequence[str], requests: IO[bytes], answers: IO[bytes], limit: int, *, contents: bool = True
) -> Iterator[Object | None]:
    """Ask a running `git cat-file` for objects, many at a time.

    Raises:
        Error: It ended early.
    """
    for start in range(0, len(names), _BATCH):
        batch = [_encoded(name) for name in names[start : start + _BATCH]]
        longest = _LONGEST if len(batch) > 1 else _LONGEST_ALONE
        good = [0 < len(name) <= longest and not any(c < 0x20 for c in name) for name in batch]
        try:
            requests.write(b"".join(name + b"\n" for name, fine in zip(batch, good, strict=True) if fine))
            requests.flush()
        except BrokenPipeError as error:
            raise Error("cat-file", "it ended before it was asked") from error
        for fine in good:
            yield _answer(answers, limit, contents=contents) if fine else None


def _encoded(name: str) -> bytes:
    """A name as git reads it; nothing for text that no bytes stand for."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b""


def _answer(answers: IO[bytes], limit: int, *, contents: bool) -> Object | None:
    header = answers.readline().split()
    if not header:
        raise Error("cat-file", "it ended before all objects were read")
    if len(header) != 3 or not header[2].isdigit():
        return None
    size, data = int(header[2]), None
    if contents and size > limit:
        _discard(answers, size + 1)
    elif contents:
        data = answers.read(size + 1)[:size]
        if len(data) < size:
            raise Error("cat-file", f"{header[0].decode()} has {size} bytes, {len(data)} came")
    return Object(header[0].decode(), header[1].decode(), size, data)


def _discard(answers: IO[bytes], size: int) -> None:
    while size > 0 and (piece := answers.read(min(size, 1 << 20))):
        size -= len(piece)


def _talk(process: "subprocess.Popen[bytes]", stdin: bytes) -> tuple[str, bytes]:
    """What the command wrote to standard error, and to standard output."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[bytes] = []
    helpers = [
        threading.Thread(target=_listen, args=(process.stderr, said)),
        threading.Thread(target=_feed, args=(process.stdin, stdin)),
    ]
    for helper in helpers:
        helper.start()
    output = _up_to(process.stdout, MOST + 1)
    if len(output) > MOST:
        process.kill()
    process.wait()
    for helper in helpers:
        helper.join()
    return " ".join(b"".join(said).decode("utf-8", "replace").split())[:300], output


def _up_to(pipe: IO[bytes], most: int) -> bytes:
    """What a pipe gives, piece by piece: asked for all at once, `most` bytes would be set aside for it beforehand."""
    pieces: list[bytes] = []
    left = most
    while left > 0 and (piece := pipe.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _listen(pipe: IO[bytes], said: list[bytes]) -> None:
    while piece := pipe.read(4_096):
        if not said:
            said.append(piece)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError), pipe:
        pipe.write(data)


def _start(
    options: Sequence[str], asked: Sequence[str], *, stderr: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    configured = (piece for setting in _CONFIG for piece in ("-c", setting))
    return subprocess.Popen(
        ["git", "--no-pager", *configured, *options, *asked],
        env={"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def _finish(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
