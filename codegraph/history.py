"""The commits that led to a revision: which files each one touched, when, and what it said.

What a commit did is read once and kept by its id, so another revision of the same repository costs a walk in memory.
Paths are those of the revision that is asked for, as far as renames tell.
"""

import dataclasses
import heapq
import json
import threading
import weakref
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from codegraph import log, objects, store

TEXT: Final = 2_000
"""Characters kept of a message."""
VERSION: Final = 1
"""Version of what is kept of a commit."""

_PATHS: Final = 500
_RENAMES: Final = 20_000
_MEMORY: Final = 30_000  # commits held in memory before it begins anew
_MORE: Final = 500
_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_STEPS: Final = 40  # commits that are cheaper to look up one by one than by a listing


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """One commit, seen from a later revision.

    Attributes:
        sha: Its id.
        time: When it was committed, seconds since 1970.
        text: Its message, at most 2,000 characters.
        paths: Files it touched, as they are called at the revision, sorted; at most 500.
        size: How many files it touched.
    """

    sha: str
    time: int
    text: str
    paths: tuple[str, ...]
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """The past of one revision.

    Attributes:
        commits: Those without merges, newest first, the revision itself included.
        shallow: True when the clone was cut, so that older commits exist elsewhere.
        problem: Why there is less than there should be; empty when nothing is lacking.
    """

    commits: tuple[Commit, ...]
    shallow: bool = False
    problem: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """A commit as it is, with what it renamed and what it follows."""

    commit: Commit
    renames: tuple[tuple[str, str], ...]
    parents: tuple[str, ...]


class _Memory:
    """Commits that were read, by id. Only one thread at a time adds to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.nodes: dict[str, _Node] = {}


_memories: "weakref.WeakKeyDictionary[store.Store, _Memory]" = weakref.WeakKeyDictionary()
_memories_lock = threading.Lock()


def load(repo: objects.Repository, rev: str, kept: store.Store, limit: int = 3_000) -> History:
    """The newest `limit` commits that lead to `rev`. Never fails: what cannot be read is left out and said.

    Args:
        repo: Where the commits are.
        rev: Any name of a commit.
        kept: Where their facts are kept; while it lives, they also stay in memory.
        limit: How many commits at most.
    """
    with _memories_lock:
        memory = _memories.setdefault(kept, _Memory())
    cut: frozenset[str] | None = None
    try:
        cut = repo.boundary()
        with memory.lock:
            nodes = _Walk(repo, kept, memory.nodes, cut or frozenset()).newest(repo.resolve(rev), limit)
    except objects.Error as error:
        return History((), cut is not None, str(error))
    problem = "" if cut is None else "the clone is shallow: older commits are not in it"
    return History(tuple(_as_of_today(nodes)), cut is not None, problem)


class _Walk:
    """Walks from a revision to its past by what commits follow, and reads of them what nobody has read."""

    def __init__(
        self, repo: objects.Repository, kept: store.Store, nodes: dict[str, _Node], cut: frozenset[str]
    ) -> None:
        self._repo, self._kept, self._nodes, self._cut = repo, kept, nodes, cut
        self._listed: dict[str, log.Link] = {}
        self._ask = self._next = _MORE

    def newest(self, sha: str, limit: int) -> list[_Node]:
        """The newest commits, a child always before its parents; of two that could be next, the later one."""
        if len(self._nodes) > _MEMORY:
            self._nodes.clear()
        self._ask, self._next = limit + limit // 2, _MORE
        found: list[str] = []
        passed: list[str] = []
        seen = {sha}
        heap: list[tuple[int, str]] = []
        self._push(heap, sha)
        while heap and len(found) < limit:
            passed.append(heapq.heappop(heap)[1])
            parents = self._parents(passed[-1])
            if len(parents) < 2:
                found.append(passed[-1])
            for parent in parents:
                if parent not in seen:
                    seen.add(parent)
                    self._push(heap, parent)
        # Those where the walk stopped are read too: who goes on from here must know when they were made.
        self._learn([*passed, *sorted(each for _, each in heap)])
        return [self._nodes[each] for each in found]

    def _parents(self, sha: str) -> tuple[str, ...]:
        node = self._nodes.get(sha)
        return self._listed[sha].parents if node is None else node.parents

    def _push(self, heap: list[tuple[int, str]], sha: str) -> None:
        if sha in self._cut:
            return
        if not self._knows(sha):
            if near := self._near(sha):
                self._learn(near)
            else:
                self._list(sha)
        if (node := self._nodes.get(sha)) is not None:
            heapq.heappush(heap, (-node.commit.time, sha))
        elif (link := self._listed.get(sha)) is not None:
            heapq.heappush(heap, (-link.time, sha))

    def _knows(self, sha: str) -> bool:
        return sha in self._nodes or sha in self._listed

    def _near(self, sha: str) -> list[str]:
        """The unknown commits between `sha` and known ones, if they are few."""
        if not self._nodes:
            return []
        unknown: list[str] = []
        edge = [sha]
        while edge:
            unknown += edge
            if len(unknown) > _STEPS:
                return []
            parents = self._repo.parents(edge)
            following = dict.fromkeys(parent for each in edge for parent in parents.get(each, ()))
            edge = [one for one in following if not (self._knows(one) or one in self._cut or one in unknown)]
        return unknown

    def _list(self, sha: str) -> None:
        """List the newest commits that lead to `sha`; each time more of them, so that there are few such times."""
        asked, self._ask = self._ask, self._next
        self._next *= 2
        self._listed |= {each.sha: each for each in self._repo.commits(sha, asked)}

    def _learn(self, shas: Sequence[str]) -> None:
        lacking = [sha for sha in shas if sha not in self._nodes and sha not in self._cut]
        for sha, payload in self._kept.commits(lacking, VERSION).items():
            self._nodes[sha] = _node(sha, json.loads(zlib.decompress(payload)))
        rows = {}
        for change in self._repo.changes(sha for sha in lacking if sha not in self._nodes):
            row = _row(change)
            if change.whole:  # the others are looked at again next time: what is lacking may have come
                rows[change.sha] = _encode(row)
            self._nodes[change.sha] = _node(change.sha, row)
        self._kept.add_commits(rows, VERSION)


def _as_of_today(nodes: Iterable[_Node]) -> Iterable[Commit]:
    """Commits from the newest back, each rename seen on the way making older names mean today's."""
    today: dict[str, str] = {}
    for node in nodes:
        commit = node.commit
        if today and not today.keys().isdisjoint(commit.paths):
            paths = tuple(sorted({today.get(path, path) for path in commit.paths}))
            commit = dataclasses.replace(commit, paths=paths)
        yield commit
        if node.renames:
            today.update([(old, today.get(new, new)) for old, new in node.renames])


_Row = Sequence[Any]
"""Time, message, paths, their count, renames and parents of one commit."""


def _row(change: log.Change) -> _Row:
    paths = sorted(filter(_is_text, change.paths))
    renames = [pair for pair in change.renames if _is_text(pair[0]) and _is_text(pair[1])]
    text = change.text[:TEXT].strip()
    return change.time, text, paths[:_PATHS], len(change.paths), renames[:_RENAMES], change.parents


def _encode(row: _Row) -> bytes:
    return zlib.compress(_JSON.encode(row).encode("utf-8", "replace"), 1)


def _node(sha: str, row: _Row) -> _Node:
    time, text, paths, size, renames, parents = row
    commit = Commit(sha, time, text, tuple(paths), size)
    return _Node(commit, tuple((old, new) for old, new in renames), tuple(parents))


def _is_text(path: str) -> bool:
    """Whether the path is UTF-8: others have surrogates in them."""
    return path.isascii() or not any("\ud800" <= c <= "\udfff" for c in path)
