"""What changed between two trees: files with their patches, and the counts of a comparison."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from devforge import database, git, shapes, state

_STATUS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}
_MAX_PATCH = 200_000
_CACHE_LIMIT = 500
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True)
class File:
    """One changed file; `patch` is None for binary and for very large changes."""

    path: str
    previous: str | None
    status: str
    blob: str
    additions: int
    deletions: int
    patch: str | None


_files: dict[tuple[Path, str, str], list[File]] = {}


async def files(repository: Path, old: str | None, new: str) -> list[File]:
    """The files that differ between two commits (None: the empty tree). Cached: commits never change."""
    key = (repository, old or _EMPTY_TREE, new)
    if key not in _files:
        options = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--full-index", *key[1:], "--")
        raw, text = await asyncio.gather(
            git.run(repository, "diff", "--raw", "--numstat", "-z", "--abbrev=40", *options),
            git.run(repository, "diff", "-p", "--src-prefix=a/", "--dst-prefix=b/", *options),
        )
        if len(_files) > _CACHE_LIMIT:
            _files.clear()
        _files[key] = _combine(raw.text, text.text)
    return _files[key]


async def text(repository: Path, old: str | None, new: str) -> bytes:
    """The difference between two commits (None: the empty tree) as git writes it."""
    options = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames")
    return (await git.run(repository, "diff", *options, old or _EMPTY_TREE, new, "--")).out


def _combine(raw: str, text: str) -> list[File]:
    """Join the raw entries, the line counts and the patches, which git lists in one and the same order."""
    patches = re.split(r"^(?=diff --git )", text, flags=re.M)
    patches = [part for part in patches if part.startswith("diff --git ")]
    fields = raw.split("\0")
    entries, position = [], 0
    while position < len(fields) and fields[position].startswith(":"):
        meta = fields[position].split(" ")
        renamed = meta[4][0] in "RC"
        previous = fields[position + 1] if renamed else None
        entries.append((meta, previous, fields[position + (2 if renamed else 1)]))
        position += 3 if renamed else 2
    found = []
    for index, (meta, previous, path) in enumerate(entries):
        added, removed, name = fields[position].split("\t", 2)
        position += 1 if name else 3
        patch = _hunks(patches[index]) if index < len(patches) else None
        found.append(
            File(
                path,
                previous,
                _STATUS.get(meta[4][0], "changed"),
                meta[3] if meta[3] != git.ZERO else meta[2],
                int(added) if added != "-" else 0,
                int(removed) if removed != "-" else 0,
                patch,
            )
        )
    return found


def _hunks(patch: str) -> str | None:
    start = re.search(r"^@@ ", patch, re.M)
    if start is None or len(patch) > _MAX_PATCH:
        return None
    return patch[start.start() :].rstrip("\n")


def shape(forge: state.Forge, repo: database.Row, sha: str, file: File) -> dict[str, Any]:
    """A file as the compare, commit and pull request endpoints show it."""
    path = quote(file.path)
    found: dict[str, Any] = {
        "sha": file.blob,
        "filename": file.path,
        "status": file.status,
        "additions": file.additions,
        "deletions": file.deletions,
        "changes": file.additions + file.deletions,
        "blob_url": shapes.page(forge, repo, f"blob/{sha}/{path}"),
        "raw_url": shapes.page(forge, repo, f"raw/{sha}/{path}"),
        "contents_url": shapes.api(forge, repo, f"contents/{path}?ref={sha}"),
    }
    if file.patch is not None:
        found["patch"] = file.patch
    if file.previous is not None:
        found["previous_filename"] = file.previous
    return found


def commentable(patch: str | None) -> dict[tuple[str, int], int]:
    """The (side, line) pairs that a review comment may stand on, each with its position below the first header."""
    found: dict[tuple[str, int], int] = {}
    left = right = 0
    for position, line in enumerate((patch or "").split("\n")):
        if match := re.match(r"^@@ -(\d+)(?:,\d+)? \+(\d+)", line):
            left, right = int(match[1]), int(match[2])
        elif line.startswith("+"):
            found["RIGHT", right] = position
            right += 1
        elif line.startswith("-"):
            found["LEFT", left] = position
            left += 1
        elif not line.startswith("\\"):
            found["LEFT", left] = found["RIGHT", right] = position
            left, right = left + 1, right + 1
    return found
