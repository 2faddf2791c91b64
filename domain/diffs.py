"""Read a unified diff as the forge gives it: the lines it adds, by file and line number."""

import re
from collections.abc import Iterator

from domain.safety import AddedText, Line

_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(?P<start>\d+)(?:,\d+)? @@")


def added_texts(diff: str, *, commit: str) -> tuple[AddedText, ...]:
    """What the diff adds to each file. Text that is no diff adds nothing."""
    return tuple(AddedText(commit, path, tuple(lines)) for path, lines in _files(diff))


def counts(diff: str) -> tuple[int, int]:
    """Lines added and removed, file headers left out."""
    added = sum(len(lines) for _, lines in _files(diff))
    in_hunk, removed = False, 0
    for line in diff.split("\n"):
        if line.startswith("diff --git "):
            in_hunk = False
        elif line.startswith("@@"):
            in_hunk = True
        elif in_hunk and line.startswith("-"):
            removed += 1
    return added, removed


def _files(diff: str) -> Iterator[tuple[str, list[Line]]]:
    path, number = "", 0
    lines: list[Line] = []
    for text in diff.split("\n"):
        if text.startswith("diff --git "):
            if path:
                yield path, lines
            path, lines, number = text.rpartition(" b/")[2], [], 0
        elif match := _HUNK.match(text):
            number = int(match["start"])
        elif number and text.startswith("+"):
            lines.append(Line(number, text[1:]))
            number += 1
        elif number and not text.startswith(("-", "\\")):
            number += 1
    if path:
        yield path, lines
