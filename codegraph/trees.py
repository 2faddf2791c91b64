"""How two trees differ, by the ids of their parts: what is the same below is never looked at."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from codegraph import command

MOST: Final = 1_000_000
"""Files above which a difference is given up: a tree may unfold to more than anything can hold."""

_TREE: Final = 0o040000
_NONE: Final = ""
Read = Callable[[Sequence[str]], list[bytes]]
"""Gives the contents of tree objects, in the order of their names."""


class Part(NamedTuple):
    """One row of a tree object."""

    mode: int
    id: str


def difference(read: Read, old: str, new: str) -> tuple[dict[bytes, Part], list[bytes]]:
    """Files that are new or differ, by path; and paths that are gone.

    Args:
        read: Gives tree objects.
        old: Id of the earlier tree.
        new: Id of the later tree.

    Raises:
        command.Error: A tree is not there, or the difference is too large.
    """
    changed: dict[bytes, Part] = {}
    gone: list[bytes] = []
    level = [(b"", old, new)]
    while level:
        names = [name for _, *both in level for name in both if name]
        read_now = iter(read(names))
        below = []
        for prefix, before, after in level:
            earlier = _parts(next(read_now), len(before) // 2) if before else {}
            later = _parts(next(read_now), len(after) // 2) if after else {}
            for name in earlier.keys() | later.keys():
                was, now = earlier.get(name), later.get(name)
                if was == now:
                    continue
                path = prefix + name
                folder_was = was.id if was and was.mode == _TREE else _NONE
                folder_now = now.id if now and now.mode == _TREE else _NONE
                if folder_was or folder_now:
                    below.append((path + b"/", folder_was, folder_now))
                if was and was.mode != _TREE and (now is None or now.mode == _TREE):
                    gone.append(path)
                if now and now.mode != _TREE:
                    changed[path] = now
        level = below
        if len(changed) + len(gone) + len(level) > MOST:
            raise command.Error("diff-tree", f"more than {MOST} files differ")
    return changed, gone


def _parts(tree: bytes, width: int) -> dict[bytes, Part]:
    """The rows of a tree object: mode, blank, name, zero byte, raw id."""
    found = {}
    at = 0
    while at < len(tree):
        blank = tree.index(b" ", at)
        zero = tree.index(b"\0", blank)
        end = zero + 1 + width
        found[tree[blank + 1 : zero]] = Part(int(tree[at:blank], 8), tree[zero + 1 : end].hex())
        at = end
    return found
