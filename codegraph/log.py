"""What git prints about commits, and how it is asked to: what each one follows, and what it did."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

LINKS: Final = ("rev-list", "--boundary", "--format=%H %ct %P")
"""A command that prints what `links` reads."""
CHANGES: Final = (
    *("diff-tree", "--stdin", "--root", "--always", "-r", "-z", "--name-status"),
    "--format=%x01%H%x00%ct%x00%P%x00%B%x00",
)
"""A command that prints what `changes` reads."""

_STATUS: Final = re.compile(rb"\n?([A-Z])\d*\Z")
_MOST_DIGITS: Final = 18


class Link(NamedTuple):
    """What one commit follows.

    Attributes:
        sha: Its id.
        time: When it was committed, seconds since 1970; 0 when it does not say.
        parents: Ids of its parents.
    """

    sha: str
    time: int
    parents: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What one commit did to the files of its parent.

    Attributes:
        sha: Its id.
        time: When it was committed, seconds since 1970; 0 when it does not say.
        parents: Ids of its parents; a commit with more than one is a merge, of which no files are told.
        text: Its message.
        paths: Files touched, at their new path, as git lists them.
        renames: Pairs of old and new path.
        whole: Whether these are all renames; otherwise files were added and deleted whose contents were not compared.
    """

    sha: str
    time: int
    parents: tuple[str, ...]
    text: str
    paths: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    whole: bool = True


def links(output: bytes) -> list[Link]:
    """The commits in what `LINKS` prints, in its order."""
    rows = (line.split(" ") for line in output.decode("ascii").splitlines() if not line.startswith("commit "))
    return [Link(sha, _time(time), tuple(filter(None, parents))) for sha, time, *parents in rows]


def changes(output: bytes, *, compared: bool = True) -> Iterator[Change]:
    """The changes in what `CHANGES` prints.

    Args:
        output: What it printed.
        compared: Whether it looked into the files for renames.
    """
    fields = iter(output.split(b"\0"))
    field = next(fields, None)
    while field is not None:
        if not field.startswith(b"\x01"):
            field = next(fields, None)
            continue
        time, parents, text = _time(next(fields).decode()), next(fields), next(fields)
        paths, renames, letters, following = _files(fields)
        yield Change(
            field[1:].decode(),
            time,
            tuple(parents.decode().split()),
            text.decode("utf-8", "replace"),
            tuple(paths),
            tuple(renames),
            compared or not letters >= {b"A", b"D"},
        )
        field = following


def _files(fields: Iterator[bytes]) -> tuple[list[str], list[tuple[str, str]], set[bytes], bytes | None]:
    """Paths, renames and letters of one commit, and the first field that is not of it."""
    paths: list[str] = []
    renames: list[tuple[str, str]] = []
    letters: set[bytes] = set()
    for field in fields:
        if field in (b"", b"\n"):
            continue
        status = _STATUS.match(field)
        if status is None:
            return paths, renames, letters, field
        letters.add(status[1])
        path = _text(next(fields))
        if status[1] == b"R":
            old, path = path, _text(next(fields))
            renames.append((old, path))
        paths.append(path)
    return paths, renames, letters, None


def _time(said: str) -> int:
    """Seconds of a commit's date; 0 for one that is none: git tells nothing of it, or any number of digits."""
    return int(said) if said.isascii() and said.isdigit() and len(said) <= _MOST_DIGITS else 0


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
