"""A forge's repository in memory: commits with real ancestry and three-way merges by file, issues, pull requests."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Commit:
    parents: tuple[str, ...]
    tree: Mapping[str, str]


@dataclass
class Issue:
    title: str
    body: str = ""
    author: str = "ann"
    open: bool = True
    labels: set[str] = field(default_factory=set)
    status: str = ""
    """Body of the one status comment."""


@dataclass
class Pull:
    number: int
    branch: str
    base: str
    open: bool = True
    draft: bool = True
    merged: bool = False
    merge_sha: str = ""
    reviews: list[str] = field(default_factory=list)
    """Heads that were reviewed, in order."""


class Conflict(Exception):
    """Both sides changed the same file."""


class Repository:
    def __init__(self, salt: str) -> None:
        self._salt = salt
        self._numbers = itertools.count(100)
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.issues: dict[int, Issue] = {}
        self.pulls: dict[int, Pull] = {}
        self.branches["main"] = self.commit((), {"README.md": "hello"})

    def commit(self, parents: tuple[str, ...], tree: Mapping[str, str]) -> str:
        text = repr((self._salt, len(self.commits), parents, sorted(tree.items())))
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = Commit(parents, dict(tree))
        return sha

    def push(self, branch: str, files: Mapping[str, str]) -> str:
        """Somebody adds one commit to a branch."""
        tip = self.branches[branch]
        self.branches[branch] = self.commit((tip,), {**self.commits[tip].tree, **files})
        return self.branches[branch]

    def ancestors(self, sha: str) -> list[str]:
        """Nearest first, the commit itself included."""
        found, todo = [], [sha]
        while todo:
            at = todo.pop(0)
            if at not in found:
                found.append(at)
                todo += self.commits[at].parents
        return found

    def holds(self, head: str, base: str) -> bool:
        return base in self.ancestors(head)

    def merge_base(self, one: str, other: str) -> str:
        known = set(self.ancestors(one))
        return next(sha for sha in self.ancestors(other) if sha in known)

    def changed(self, base: str, head: str) -> dict[str, str]:
        before, after = self.commits[base].tree, self.commits[head].tree
        return {path: text for path, text in after.items() if before.get(path) != text}

    def merge(self, into: str, head: str) -> str:
        """The merge commit of two commits. Raises Conflict."""
        base = self.merge_base(into, head)
        ours, theirs = self.changed(base, into), self.changed(base, head)
        if any(theirs[path] != text for path, text in ours.items() if path in theirs):
            raise Conflict(f"{into} and {head}")
        return self.commit((into, head), {**self.commits[into].tree, **theirs})

    def open_pull(self, branch: str, base: str) -> Pull:
        for pull in self.pulls.values():
            if pull.branch == branch and pull.open:
                return pull
        pull = Pull(next(self._numbers), branch, base)
        self.pulls[pull.number] = pull
        return pull

    def head(self, pull: Pull) -> str:
        return self.branches.get(pull.branch, "") or pull.merge_sha
