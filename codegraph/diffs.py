"""Unified diffs, read: which lines of which files change.

A diff may be anybody's text. Its hunks are counted, so that no changed line is taken for a heading.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

MOST: Final = 20_000_000
"""Bytes of a diff that are read."""

_HUNK: Final = re.compile(rb"@@ -(\d{1,18})(?:,(\d{1,18}))? \+\d+(?:,(\d{1,18}))? @@")
_ESCAPE: Final = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS: Final = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13}


@dataclasses.dataclass(frozen=True, slots=True)
class Insertion:
    """New lines between two old ones that both stay.

    Attributes:
        before: The old line that they stand before; one more than there are at the end of the file.
        indent: Columns of blanks before the first of them that says something.
        leads: Whether they are about what follows, as a decorator is.
    """

    before: int
    indent: int
    leads: bool


@dataclasses.dataclass(slots=True)
class Part:
    """What a diff says of one file.

    Attributes:
        path: Its path; the old one where it was deleted or renamed.
        new: It was not there before.
        lines: Changed lines of the old side.
        inserted: What was put between lines of the old side.
        added: The lines of the new side that are in the diff: all of a new file.
    """

    path: str
    new: bool
    lines: list[range] = dataclasses.field(default_factory=list)
    inserted: list[Insertion] = dataclasses.field(default_factory=list)
    added: list[bytes] = dataclasses.field(default_factory=list)

    @property
    def size(self) -> int:
        """How much changes: of the old side the lines and the places of insertions, of a new file its lines."""
        if self.new:
            return len(self.added)
        return sum(map(len, self.lines)) + len(self.inserted)


def parts(diff: bytes) -> list[Part]:
    """The files of a diff, in its order; a file that comes twice is one. Links and submodules are none. A copy is a new
    file of what it has more than its source."""
    lines = diff[:MOST].split(b"\n")
    found: dict[str, Part] = {}
    place, part, special, copied, by_git = 0, None, False, False, False
    prefixes = (b"a/", b"b/")
    while place < len(lines):
        line = lines[place]
        if line.startswith(b"diff --git "):
            special, copied, by_git = False, False, True
            prefixes = _prefixes(line[11:]) or prefixes
            place += 1
        elif line.startswith((b"new file mode ", b"deleted file mode ")):
            special = not line.partition(b" mode ")[2].startswith(b"100")
            place += 1
        elif line.startswith(b"copy from ") and place and lines[place - 1].startswith(b"similarity index "):
            copied = True
            place += 1
        elif line.startswith(b"--- ") and lines[place + 1 : place + 2] and lines[place + 1].startswith(b"+++ "):
            old = b"/dev/null" if copied else line[4:]
            part = None if special else _part(old, lines[place + 1][4:], prefixes)
            part = found.setdefault(part.path, part) if part else None
            special = copied = False
            place += 2
        elif line.startswith(b"rename from ") and place and lines[place - 1].startswith(b"similarity index "):
            moved = Part(_path(line[12:], b"") or "", False)  # all that a diff says of a file that only moves
            found.setdefault(moved.path, moved)
            place += 1
        elif part is not None and (hunk := _HUNK.match(line)):
            counts = [int(hunk[1]), int(hunk[2] or 1), int(hunk[3] or 1)]
            if not by_git and counts[:2] == [0, 0]:
                part.new = True  # other programs name the old side of a new file like its new one
            place = _hunk(lines, place + 1, part, counts)
        else:
            place += 1
    return list(found.values())


def _prefixes(both: bytes) -> tuple[bytes, bytes] | None:
    """What stands before the paths of a heading that names one file: `a/` and `b/`, or what `diff.mnemonicPrefix` says,
    such as `i/` and `w/`. None where the heading does not tell."""
    middle = len(both) // 2
    before, after = both[:middle], both[middle + 1 :]
    alike = before[1:2] == b"/" and before[1:] == after[1:] and before[:1] != after[:1]
    return (before[:2], after[:2]) if alike else None


def _part(old: bytes, new: bytes, prefixes: tuple[bytes, bytes]) -> Part | None:
    before, after = _path(old, prefixes[0]), _path(new, prefixes[1])
    path = before or after
    return Part(path, before is None) if path else None


def _path(said: bytes, prefix: bytes) -> str | None:
    """A path as a heading writes it; None for no file."""
    said = said.rstrip(b"\r")
    if said.startswith(b'"') and said.endswith(b'"'):
        said = _ESCAPE.sub(_unescaped, said[1:-1])
    else:
        said = said.split(b"\t")[0]
    return None if said == b"/dev/null" else said.removeprefix(prefix).decode("utf-8", "backslashreplace")


def _unescaped(match: "re.Match[bytes]") -> bytes:
    said = match[1]
    if len(said) == 3:
        return bytes([int(said, 8) & 255])
    return bytes([_LETTERS[said]]) if said in _LETTERS else said


def _hunk(lines: Sequence[bytes], place: int, part: Part, counts: Sequence[int]) -> int:
    """Read one hunk; gives the place of the line after it."""
    start, old, new = counts
    number = start if old else start + 1  # of an insertion, the heading names the line before it
    touched: set[int] = set()
    fresh: dict[int, list[bytes]] = {}
    while place < len(lines) and (old > 0 or new > 0 or lines[place].startswith(b"\\")):
        sign = lines[place][:1] or b" "  # some programs strip the blank of an empty line
        if sign == b"-":
            touched.add(number)
        elif sign == b"+":
            fresh.setdefault(number, []).append(lines[place][1:])
            part.added.append(lines[place][1:])
        elif sign not in (b" ", b"\\"):
            break
        number += sign in (b"-", b" ")
        old -= sign in (b"-", b" ")
        new -= sign in (b"+", b" ")
        place += 1
    part.lines.extend(range(each, each + 1) for each in sorted(touched))
    part.inserted += [_insertion(before, fresh[before]) for before in fresh if not {before - 1, before} & touched]
    return place


def _insertion(before: int, added: Sequence[bytes]) -> Insertion:
    said = [line.expandtabs(4) for line in added if line.strip()]
    indent = len(said[0]) - len(said[0].lstrip()) if said else 0
    return Insertion(before, indent, added[-1].lstrip().startswith((b"@", b"#[")))
