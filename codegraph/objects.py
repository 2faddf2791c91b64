"""Git objects of one repository: which files a revision holds, what is in them, and how two revisions differ.

No checkout is needed and none is made.
"""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from codegraph import command, log, trees

SYMLINK: Final = 0o120000
SUBMODULE: Final = 0o160000
LINKS: Final = (SYMLINK, SUBMODULE)
"""Modes of what is no file with contents of its own."""
LARGE: Final = 1_000_000
"""Bytes above which a blob is not read at all."""

_NOTHING: Final = "0" * 40
_PATHS: Final = 200
"""Paths that one command line names."""
_FEW: Final = 64  # blobs that are worth no process of their own
_LONGEST: Final = 4_096  # characters of a name
_NO_PLACE: Final = re.compile(r"fatal: (?:not a git repository|cannot change to)\b")

Error = command.Error
"""Git could not answer."""


class NotARepository(command.Error):
    """There is no git directory at or above the path."""


class NoSuchRevision(command.Error):
    """The repository holds no such commit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree.

    Attributes:
        path: From the root, with `/`. Bytes that are no UTF-8 are surrogates (`os.fsencode` gives them back).
        blob: Object id; the id of a commit for a submodule.
        mode: File mode of git, such as 0o100644.
        size: Bytes; -1 for a submodule, and for a blob that is not there.
    """

    path: str
    blob: str
    mode: int
    size: int = -1


class Repository:
    """The objects of one repository. Safe to share between threads.

    Attributes:
        git_dir: Git directory of this checkout.
        common_dir: Git directory that all worktrees of the repository share.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Finds the git directory at or above `path` (bare, normal or a worktree).

        Raises:
            NotARepository: There is none.
            Error: There is one, and git cannot use it.
        """
        here = os.fspath(path)
        try:
            self.git_dir, self.common_dir = _places(here)
        except command.Error as error:
            if not _NO_PLACE.match(error.detail):
                raise
            raise NotARepository(error.command, f"{here} is no git repository ({error.detail})") from error
        # Attributes are read from the work tree. There is none: neither what a checkout holds nor the folder that
        # somebody asks from may change an answer.
        home = os.fspath(self.common_dir)
        self._options = ("-C", home, f"--git-dir={self.git_dir}", f"--work-tree={home}")
        self._contents = command.Session(self._options, contents=True)
        self._headers = command.Session(self._options, contents=False)
        self._lacks = False

    def close(self) -> None:
        """End the processes that wait for questions; the next question starts them again."""
        self._contents.close()
        self._headers.close()

    def boundary(self) -> frozenset[str] | None:
        """Commits whose parents a shallow clone left out; None for a whole repository."""
        try:
            return frozenset((self.common_dir / "shallow").read_text("ascii").split())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Error("rev-parse", f"the list of shallow commits cannot be read ({error})") from error

    def resolve(self, rev: str) -> str:
        """The commit id that `rev` names.

        Raises:
            NoSuchRevision: There is no such commit here.
            Error: There is, and git cannot read it.
        """
        try:
            (found,) = self._headers.get([f"{rev}^{{commit}}"])
            if found is None and rev.startswith(":/"):  # all of the rest is what to look for
                (found,) = self._headers.get([rev])
        except Error:  # git ends at some names, such as an entry that a reflog lacks
            (found,) = self._headers.get([_NOTHING])  # raises when git itself is what fails
        if found is None:
            self._look_behind(rev)
            raise NoSuchRevision("rev-parse", f"{rev!r} is no commit of {self.common_dir}")
        return found.id

    def _look_behind(self, rev: str) -> None:
        """Tell a name of nothing from the name of a commit that is lost or damaged.

        Raises:
            Error: It is the latter.
        """
        if not rev.isprintable() or len(rev) > _LONGEST:
            return
        try:
            named = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", rev).decode().strip()
        except Error:
            return
        (found,) = self._headers.get([named])
        if named != rev and (found is None or found.kind == "commit"):
            raise Error("rev-parse", f"{rev!r} is the commit {named}, which cannot be read")

    @functools.cached_property
    def _here(self) -> frozenset[str]:
        """All blobs that there are."""
        rows = self._git("cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objecttype) %(objectname)")
        return frozenset(row[5:].decode() for row in rows.splitlines() if row.startswith(b"blob "))

    def _lacked(self, error: command.Error) -> None:
        """Go on after git failed in a partial clone: it tries to fetch what is not there, and ends when it may not.
        From now on it is asked only for what there is.

        Raises:
            Error: It failed for another reason.
        """
        if self._lacks or not any((self.common_dir / "objects" / "pack").glob("*.promisor")):
            raise error
        self._lacks = True

    def ls_tree(self, rev: str) -> list[Entry]:
        """Every file of a revision, in git's order (bytes of the path)."""
        sha = self.resolve(rev)
        if not self._lacks:
            try:
                return _entries(self._git("ls-tree", "-r", "-l", "-z", "--full-tree", sha))
            except Error as error:
                self._lacked(error)
        entries = _entries(self._git("ls-tree", "-r", "-z", "--full-tree", sha))
        sizes = self.sizes([entry.blob for entry in entries if entry.mode != SUBMODULE])
        return [dataclasses.replace(entry, size=sizes.get(entry.blob, -1)) for entry in entries]

    def diff_tree(self, old: str, new: str) -> tuple[list[Entry], list[str]]:
        """What differs between two revisions.

        Returns:
            Entries of `new` that are not in `old` or differ there, and paths of `old` that `new` has not; by path.
        """
        roots = [root.id for root in self._headers.get([f"{old}^{{tree}}", f"{new}^{{tree}}"]) if root is not None]
        if len(roots) < 2:
            raise NoSuchRevision("diff-tree", f"{old!r} or {new!r} is no commit of {self.common_dir}")
        changed, gone = trees.difference(self._trees, *roots)
        sizes = self.sizes([file.id for file in changed.values() if file.mode != SUBMODULE])
        entries = [
            Entry(_text(path), file.id, file.mode, sizes.get(file.id, -1)) for path, file in sorted(changed.items())
        ]
        return entries, [_text(path) for path in sorted(gone)]

    def read(self, blobs: Iterable[str], limit: int = LARGE) -> Iterator[tuple[str, bytes | None]]:
        """The contents of blobs; None for one that is missing, no blob, or of more than `limit` bytes."""
        names, done = list(blobs), 0
        if self._lacks:
            yield from ((name, None) for name in names if name not in self._here)
            names = [name for name in names if name in self._here]
        try:
            for found in self._read(names, limit):
                done += 1
                yield found
        except Error as error:
            self._lacked(error)
            yield from self.read(names[done:], limit)

    def _read(self, names: Sequence[str], limit: int) -> Iterator[tuple[str, bytes | None]]:
        if len(names) <= _FEW:
            yield from _contents(names, self._contents.get(names, limit))
            return
        with command.process(self._options, ("cat-file", "--batch")) as (requests, answers):
            yield from _contents(names, command.ask(names, requests, answers, limit))

    def merge_base(self, one: str, other: str) -> str:
        """The best common ancestor of two revisions.

        Raises:
            Error: They have none.
        """
        tips = self.resolve(one), self.resolve(other)
        try:
            return self._git("merge-base", *tips).decode().strip()
        except command.Error as error:
            raise Error("merge-base", f"{one!r} and {other!r} have no common ancestor") from error

    def sizes(self, blobs: Sequence[str]) -> dict[str, int]:
        """Bytes of each blob that is there."""
        if not self._lacks:
            try:
                return {found.id: found.size for found in self._headers.get(blobs) if found is not None}
            except Error as error:
                self._lacked(error)
        here = [blob for blob in blobs if blob in self._here]
        return {found.id: found.size for found in self._headers.get(here) if found is not None}

    def parents(self, shas: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Parents of each commit that is there, as the commit itself names them."""
        found = {}
        for one in self._contents.get(shas):
            if one is not None and one.kind == "commit" and one.data is not None:
                head = one.data.partition(b"\n\n")[0].split(b"\n")
                found[one.id] = tuple(line[7:].decode() for line in head if line.startswith(b"parent "))
        return found

    def commits(self, rev: str, limit: int) -> list[log.Link]:
        """The newest `limit` commits that lead to `rev` (itself and merges included), newest first, and the parents of
        these that are none of them."""
        return log.links(self._git(*log.LINKS, f"--max-count={limit}", self.resolve(rev)))

    def changes(self, shas: Iterable[str]) -> Iterator[log.Change]:
        """What each commit did, in order. Renames are found where the blobs are at hand."""
        stdin = "".join(f"{sha}\n" for sha in shas).encode()
        if not stdin:
            return
        try:
            output, compared = self._git(*log.CHANGES, "-M", "-l400", stdin=stdin), True
        except command.Error:  # a partial clone lacks the contents that a comparison needs; and anybody may end git
            output, compared = self._git(*log.CHANGES, "-M100%", stdin=stdin), False
        yield from log.changes(output, compared=compared)

    def changed_lines(self, old: str, new: str) -> bytes:
        """The difference of two revisions as a unified diff without context and renames; no program of the
        repository's configuration takes part. Files whose contents are not there are left out."""
        options = (
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
            "--no-color",
            "-U0",
            "--src-prefix=a/",
            "--dst-prefix=b/",
        )
        trees = self.resolve(old), self.resolve(new)
        if not self._lacks:
            try:
                return self._git("diff-tree", "-r", "-p", *options, *trees)
            except Error as error:
                self._lacked(error)
        said = b""
        paths = self._whole(*trees)
        for start in range(0, len(paths), _PATHS):
            chunk = paths[start : start + _PATHS]
            said += self._git("--literal-pathspecs", "diff-tree", "-r", "-p", *options, *trees, "--", *chunk)
        return said

    def _whole(self, old: str, new: str) -> list[str]:
        """Paths that differ between two revisions, and whose contents of both are there."""
        rows = self._git("diff-tree", "-r", "-z", "--raw", "--no-renames", old, new).split(b"\0")
        found = []
        for head, path in zip(rows[::2], rows[1::2], strict=False):
            _, mode, *blobs, _ = head.decode().split()
            if mode != "160000" and all(blob in self._here or not blob.strip("0") for blob in blobs):
                found.append(_text(path))
        return found

    def _trees(self, names: Sequence[str]) -> list[bytes]:
        found = []
        for name, tree in zip(names, self._contents.get(names), strict=True):
            if tree is None or tree.kind != "tree" or tree.data is None:
                raise Error("diff-tree", f"the tree {name} is not there")
            found.append(tree.data)
        return found

    def _git(self, *asked: str, stdin: bytes = b"") -> bytes:
        return command.run(self._options, asked, stdin)


def readable(path: str) -> str:
    """A path with escapes for its bytes that are no UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _places(here: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The git directory at or above a folder, and that of all its worktrees."""
    wanted = ("--git-dir", "--git-common-dir")
    lines = command.run(("-C", here), ("rev-parse", "--path-format=absolute", *wanted)).split(b"\n")
    if len(lines) != 3:  # a line break is part of a path
        lines = [command.run(("-C", here), ("rev-parse", "--path-format=absolute", each))[:-1] for each in wanted]
    return pathlib.Path(os.fsdecode(lines[0])), pathlib.Path(os.fsdecode(lines[1]))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _entries(rows: bytes) -> list[Entry]:
    found = []
    for row in rows.split(b"\0"):
        meta, tab, path = row.partition(b"\t")
        if tab:
            mode, _, blob, *size = meta.split()
            known = int(size[0]) if size and size[0].isdigit() else -1
            found.append(Entry(_text(path), blob.decode(), int(mode, 8), known))
    return found


def _contents(names: Sequence[str], found: Iterable[command.Object | None]) -> Iterator[tuple[str, bytes | None]]:
    for name, one in zip(names, found, strict=True):
        yield name, one.data if one is not None and one.kind == "blob" else None
