"""Reads commits from a mirror: which ones a run adds, what they change, which lines are new.

GitPython is used here and nowhere else, and on the mirror only: it starts `git cat-file` and `git rev-list`, which run
no hook, filter or text conversion. Trees are compared here entry by entry, so the work is bounded by the number of
changes and not by what a crafted tree unfolds to.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import git

from domain import safety
from integrations.git import checks

_ENVIRONMENT: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}
_TREE: Final = 0o040000


class _Entry(NamedTuple):
    mode: int
    sha: str


@dataclass(frozen=True)
class Reader:
    """Reads one mirror. Blocking: call it in a thread, one reader a thread."""

    repo: git.Repo
    limits: checks.Limits

    @classmethod
    @contextlib.contextmanager
    def open(cls, mirror: Path, limits: checks.Limits) -> Iterator["Reader"]:
        repo = git.Repo(mirror)
        repo.git.update_environment(**_ENVIRONMENT, GIT_DIR=str(mirror))
        try:
            yield cls(repo, limits)
        finally:
            repo.close()

    def work(self, *, base: str, base_tip: str, head: str) -> checks.Range:
        """The commits of `head` that `base_tip` lacks, oldest first.

        Raises:
            UnsafeWork: more commits, or more changes, than the limits let us read.
        """
        most = self.limits.commits + 1
        listed = self.repo.git.rev_list("--topo-order", "--reverse", head, "--not", base_tip, max_count=most)
        shas = str(listed).split()
        if len(shas) >= most:
            raise checks.too_many("commits", self.limits.commits)
        commits = tuple(self._commit(sha) for sha in shas)
        merges = base and any(len(commit.parents) > 1 for commit in commits)
        whole = self._changes(self.repo.commit(base).tree, self.repo.commit(head).tree) if merges else ()
        return checks.Range(base, head, commits, tuple(whole))

    def changed_paths(self, old: str, new: str) -> tuple[str, ...]:
        """Paths in which two commits differ, in order."""
        found = self._changes(self.repo.commit(old).tree, self.repo.commit(new).tree)
        return tuple(sorted(change.path for change in found))

    def paths_changed_since(self, tree: str, commit: str) -> frozenset[str]:
        """Paths in which a commit differs from a tree of the mirror."""
        before = git.Tree(self.repo, bytes.fromhex(tree), _TREE, "")
        return frozenset(change.path for change in self._changes(before, self.repo.commit(commit).tree))

    def same_tree(self, old: str, new: str) -> bool:
        return self.repo.commit(old).tree.hexsha == self.repo.commit(new).tree.hexsha

    def added(self, commit: checks.Commit) -> Iterator[safety.AddedText]:
        """What a commit adds: its header and message, its new paths, and file by file their lines.

        A line counts as added when no parent has it in this file, and no file that the commit removes has it: so
        neither a merge nor a rename makes old content new.
        """
        yield safety.AddedText.of_header(commit.sha, self._header(commit.sha))
        yield safety.AddedText.of_message(commit.sha, commit.message)
        own = commit.own_changes()
        for change in own:
            if (change.new_mode and not change.old_mode) or change.link_target:
                yield safety.AddedText.of_name(commit.sha, change.path, change.link_target)
        removed = [change.old_blob for change in own if not change.new_mode and change.old_blob]
        moved: set[bytes] | None = None
        for change in own:
            if change.new_mode not in checks.PLAIN:
                continue
            olds = [old.old_blob for per in commit.changes for old in per if old.path == change.path and old.old_blob]
            if not olds and moved is None:
                moved = set().union(*(self._lines(blob) for blob in removed))
            before: set[bytes] = set().union(*(self._lines(blob) for blob in olds)) if olds else moved or set()
            yield safety.AddedText.of_file(commit.sha, change.path, self._bytes(change.new_blob), before)

    def _header(self, sha: str) -> str:
        """As it is stored: git keeps every line in it, GitPython reads those that it knows."""
        header, _, _ = self._commit_bytes(sha).partition(b"\n\n")
        return header.decode("utf-8", "replace")

    def _commit_bytes(self, sha: str) -> bytes:
        data: bytes = self.repo.odb.stream(bytes.fromhex(sha)).read()
        return data

    def _commit(self, sha: str) -> checks.Commit:
        checks.refuse_commit_size(sha, self.repo.odb.info(bytes.fromhex(sha)).size)
        commit = self.repo.commit(sha)
        parents = commit.parents
        message = commit.message if isinstance(commit.message, str) else commit.message.decode("utf-8", "replace")
        against: list[git.Tree | None] = [parent.tree for parent in parents] or [None]
        changes = tuple(tuple(self._changes(old, commit.tree)) for old in against)
        return checks.Commit(sha, tuple(parent.hexsha for parent in parents), message, changes)

    def _changes(self, old: git.Tree | None, new: git.Tree | None) -> list[checks.Change]:
        found: list[checks.Change] = []
        visited = 0
        pending: list[tuple[str, git.Tree | None, git.Tree | None]] = [("", old, new)]
        while pending:
            prefix, before, after = pending.pop()
            # The second bound is for trees that hold nothing but trees.
            visited += 1
            left, right = _entries(before), _entries(after)
            for name in sorted(left.keys() | right.keys()):
                was, now = left.get(name), right.get(name)
                if was == now:
                    continue
                if len(found) > self.limits.files or visited > 20 * self.limits.files:
                    raise checks.too_many("changed files", self.limits.files)
                path = f"{prefix}{name}"
                old_tree, new_tree = self._tree(was, path), self._tree(now, path)
                if old_tree is not None or new_tree is not None:
                    pending.append((f"{path}/", old_tree, new_tree))
                if (change := self._change(path, was, now)) is not None:
                    found.append(change)
        return sorted(found, key=lambda change: change.path)

    def _tree(self, entry: _Entry | None, path: str) -> git.Tree | None:
        if entry is None or entry.mode != _TREE:
            return None
        return git.Tree(self.repo, bytes.fromhex(entry.sha), _TREE, path)

    def _change(self, path: str, was: _Entry | None, now: _Entry | None) -> checks.Change | None:
        before = None if was is None or was.mode == _TREE else was
        after = None if now is None or now.mode == _TREE else now
        if before is None and after is None:
            return None
        change = checks.Change(path)
        if before is not None:
            change = replace(change, old_mode=before.mode, old_blob="" if before.mode == checks.GITLINK else before.sha)
        if after is not None and after.mode != checks.GITLINK:
            size = git.Blob(self.repo, bytes.fromhex(after.sha)).size
            link = ""
            if after.mode == checks.SYMLINK and size <= self.limits.file_bytes:
                link = self._bytes(after.sha).decode("utf-8", "surrogateescape")
            change = replace(change, new_mode=after.mode, new_blob=after.sha, size=size, link_target=link)
        elif after is not None:
            change = replace(change, new_mode=after.mode)
        return change

    def _bytes(self, sha: str) -> bytes:
        blob = git.Blob(self.repo, bytes.fromhex(sha))
        if blob.size > self.limits.file_bytes:
            return b""  # refused by the limits where it is new; of no interest where it is old
        data: bytes = blob.data_stream.read()
        return data

    def _lines(self, sha: str) -> Iterable[bytes]:
        return self._bytes(sha).split(b"\n")


def _entries(tree: git.Tree | None) -> dict[str, _Entry]:
    """Raises UnsafeWork for a tree that git lets pass and GitPython does not: an entry of a kind that is not known."""
    if tree is None:
        return {}
    try:
        # From the path: GitPython looks the `name` of a submodule up in a .gitmodules file.
        return {str(item.path).rpartition("/")[2]: _Entry(item.mode, item.hexsha) for item in tree}
    except ValueError as error:
        raise checks.unreadable(tree.hexsha, str(error)) from error
