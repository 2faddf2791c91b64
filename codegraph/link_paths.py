"""Paths of a revision as imports write them: from a folder, upwards, and the nearest of several."""

from collections.abc import Container, Iterable, Sequence
from typing import Final

_MOST: Final = 3
"""Files that are equally near and are all meant; of more, only the first."""
_MANY: Final = 200
"""Files of one name of which none is meant: to look at all of them for each import takes the square of their count."""


def folder_of(path: str) -> str:
    """The folder that holds a file or a folder; empty for the root."""
    return path.rpartition("/")[0]


def under(folder: str, path: str) -> str:
    """A path that is written from a folder, from the root."""
    return f"{folder}/{path}" if folder else path


def above(folder: str) -> list[str]:
    """A folder and those that hold it, the root last."""
    found = [folder]
    while folder:
        folder = folder_of(folder)
        found.append(folder)
    return found


def joined(folder: str, path: str) -> str | None:
    """A path that is written from a folder, from the root; None when its `..` lead out of the repository."""
    parts = folder.split("/") if folder else []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def shared(one: str, other: str) -> int:
    """How many folders two paths have in common from the root on."""
    count = 0
    for mine, its in zip(one.split("/"), other.split("/"), strict=False):
        if mine != its:
            break
        count += 1
    return count


def nearest(hits: Sequence[str], path: str) -> Sequence[str]:
    """Of several files those that share the longest beginning with the importing one; none of very many."""
    if len(hits) < 2:
        return hits
    if len(hits) > _MANY:
        return ()
    best = max(shared(hit, path) for hit in hits)
    return [hit for hit in hits if shared(hit, path) == best][:_MOST]


def first(paths: Container[str], path: str, options: Iterable[str]) -> Sequence[str]:
    """The first of some paths that there is, each as the importing file's folder sees it, or else the root."""
    folder = folder_of(path)
    for option in options:
        for start in (folder, "") if folder else ("",):
            base = joined(start, option)
            if base is not None and base in paths:
                return (base,)
    return ()
