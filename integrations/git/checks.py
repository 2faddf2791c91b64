"""What an agent's commits may not do, decided over facts that were read from the mirror. Pure.

A refusal is `UnsafeWork`: nothing is pushed, and the sentence tells the agent's next turn what to undo.
"""

import fnmatch
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from domain import errors

SYMLINK: Final = 0o120000
GITLINK: Final = 0o160000
PLAIN: Final = frozenset({0o100644, 0o100755, 0o100664})

DEFAULT_PROTECTED: Final = (
    ".github/workflows/",
    ".forgejo/workflows/",
    ".gitea/workflows/",
    ".gitlab-ci.yml",
    ".circleci/",
    ".buildkite/",
    "azure-pipelines.yml",
    "Jenkinsfile",
    "/.devforge-ci.json",
    "CODEOWNERS",
    "/WORKFLOW.md",
    ".claude/",
    ".codex/",
    ".gemini/",
    ".kimi/",
    ".opencode/",
    "opencode.json",
    "opencode.jsonc",
    ".mcp.json",
)
"""What decides over later work: CI with the repository's secrets, who must review, what the next agent obeys."""

MOST_COMMIT_BYTES: Final = 256 * 1024

_HFS_IGNORED: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
"""Characters that HFS+ drops from a name, so that `.g\u200cit` is `.git` there (git's own list)."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_GIT_DIRECTORY: Final = re.compile(r"^(?:\.git|git~[0-9])$")
_GIT_MODULES: Final = re.compile(r"^(?:\.gitmodules|gitmod~[0-9]|gi7eba~[0-9])$")


@dataclass(frozen=True)
class Limits:
    """How much one run may bring: more is a mistake (generated files, a vendored tree), or an attack."""

    commits: int = 200
    files: int = 2000
    file_bytes: int = 20 * 1024**2
    total_bytes: int = 100 * 1024**2


@dataclass(frozen=True)
class Rules:
    """The policy of an import.

    `protected` holds paths in the form of `.gitignore` lines: with a trailing slash a directory and all in it, with a
    slash elsewhere a path from the root, otherwise a name in any directory; `*` and `?` match within the path.
    """

    limits: Limits = Limits()
    protected: tuple[str, ...] = DEFAULT_PROTECTED

    def with_file(self, path: str) -> "Rules":
        """These rules with one file more that is protected, by its path from the root; empty: none."""
        return replace(self, protected=(*self.protected, f"/{path.lstrip('/')}")) if path else self


@dataclass(frozen=True)
class Change:
    """One path that a commit changed against one parent. Mode 0 means that the path is not there."""

    path: str
    old_mode: int = 0
    new_mode: int = 0
    old_blob: str = ""
    new_blob: str = ""
    size: int = 0
    link_target: str = ""
    """Where a new symlink points; empty for everything else."""


@dataclass(frozen=True)
class Commit:
    """One commit of the range, with what it changed against each of its parents."""

    sha: str
    parents: tuple[str, ...]
    message: str = ""
    changes: tuple[tuple[Change, ...], ...] = ()
    """One entry a parent, in their order; for a commit without parents one entry against nothing."""

    def own_changes(self) -> tuple[Change, ...]:
        """What this commit itself brings: paths that differ from every parent (a merge takes the others over)."""
        if not self.changes:
            return ()
        first, *others = self.changes
        shared = [{change.path for change in other} for other in others]
        return tuple(change for change in first if all(change.path in paths for paths in shared))


@dataclass(frozen=True)
class Range:
    """The commits that a run would add to its base, oldest first."""

    base: str
    head: str
    commits: tuple[Commit, ...]
    whole: tuple[Change, ...] = ()
    """What `head` changes against `base`, where a commit is a merge: one that takes a file over from history that is
    older than the base changes it, and has no change of its own."""


def check(work: Range, rules: Rules, may_change: Callable[[str, Change], bool] | None = None) -> None:
    """Raises UnsafeWork with the first rule that the range breaks.

    Args:
        may_change: Whether the commit with that SHA may make that change of a protected path, every other rule holds
            for it all the same. None: no commit may.
    """
    if not work.base:
        raise unrelated(work.head)
    if len(work.commits) > rules.limits.commits:
        raise too_many("commits", rules.limits.commits)
    paths: set[str] = set()
    sizes: dict[str, int] = {}
    for commit in work.commits:
        if not commit.parents:
            raise unrelated(commit.sha)
        for change in commit.own_changes():
            _check(commit.sha, change, rules, may_change)
            paths.add(change.path)
            sizes[change.new_blob] = change.size
    for change in work.whole:
        _check(work.head, change, rules, may_change)
    if len(paths) > rules.limits.files:
        raise too_many("changed files", rules.limits.files)
    refuse_total(sum(sizes.values()), rules.limits)


def _check(sha: str, change: Change, rules: Rules, may_change: Callable[[str, Change], bool] | None) -> None:
    check_change(change, rules, f"commit {sha[:7]}")
    pattern = protected_by(change.path, rules.protected)
    if pattern and not (may_change and may_change(sha, change)):
        raise _protected(sha, change.path, pattern)


def check_change(change: Change, rules: Rules, who: str) -> None:
    """Raises UnsafeWork when one change breaks a rule, protection aside; `who` names it in the sentence."""
    refuse_path(change.path, who)
    refuse_size(change.path, change.size, rules.limits)
    if _is_gitmodules(change.path) or GITLINK in {change.old_mode, change.new_mode}:
        raise _refused(f"{who} changes the submodule {_shown(change.path)}", "submodules stay as the base has them")
    if change.new_mode == SYMLINK:
        _refuse_link(change, who)
    elif change.new_mode and change.new_mode not in PLAIN:
        raise _refused(
            f"{who} gives {_shown(change.path)} mode {change.new_mode:o}, expected are plain files and symlinks",
            "commit it as a plain file",
        )


def refuse_path(path: str, who: str) -> None:
    """Raises UnsafeWork when a path would mean something else to git, to a shell or on another file system."""
    problem = ""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in path):
        problem = "is not UTF-8"
    elif _CONTROL.search(path):
        problem = "holds a control character"
    elif any(_normal(part) in {"", ".", ".."} for part in _parts(path)):
        problem = "leaves its directory"
    elif any(_GIT_DIRECTORY.match(_normal(part)) for part in _parts(path)):
        problem = "is git's own directory on some file system"
    if problem:
        raise _refused(f"{who} has the path {_shown(path)}, which {problem}", "rename it in every commit")


def unrelated(sha: str) -> errors.UnsafeWork:
    return _refused(
        f"commit {sha[:7]} begins a history of its own, expected are commits that descend from the base",
        "commit on top of the branch as it was prepared",
    )


def unreadable(sha: str, problem: str) -> errors.UnsafeWork:
    return _refused(
        f"tree {sha[:7]} holds an entry that is neither file, symlink, directory nor submodule ({problem})",
        "make the commits with git's own commands",
    )


def too_many(what: str, most: int) -> errors.UnsafeWork:
    return _refused(
        f"it has more than {most} {what}, the limit is {most}",
        "keep generated files out of the repository (.gitignore) and squash the commits",
    )


def refuse_size(path: str, size: int, limits: Limits) -> None:
    """Raises UnsafeWork when one file is too large; sizes are in bytes."""
    if size > limits.file_bytes:
        raise _refused(
            f"{_shown(path)} has {size} bytes, the limit is {limits.file_bytes} for a file",
            "keep large and generated files out of every commit",
        )


def refuse_commit_size(sha: str, size: int) -> None:
    """Raises UnsafeWork when a commit without its files is too large to be read as a whole; the size is in bytes."""
    if size > MOST_COMMIT_BYTES:
        raise _refused(
            f"commit {sha[:7]} has {size} bytes of message and header, the limit is {MOST_COMMIT_BYTES}",
            "write a message that people read, and keep data in files",
        )


def refuse_total(size: int, limits: Limits) -> None:
    """Raises UnsafeWork when all new files together are too large; sizes are in bytes."""
    if size > limits.total_bytes:
        raise _refused(
            f"its files have {size} bytes together, the limit is {limits.total_bytes}",
            "keep large and generated files out of every commit",
        )


def _protected(sha: str, path: str, pattern: str) -> errors.UnsafeWork:
    return _refused(
        f"commit {sha[:7]} changes {_shown(path)}, which the policy protects ({pattern})",
        "take that change out of every commit, a person has to make it",
    )


def _refuse_link(change: Change, who: str) -> None:
    """A link must stay inside: relative, and `..` only at its beginning, where it climbs real directories. Behind a
    name, `..` may climb from wherever another link led."""
    target = change.link_target
    parts = target.split("/")
    climbing = len(parts) - len(_without_leading_dots(parts))
    depth = len(change.path.split("/")) - 1
    outside = target.startswith("/") or climbing > depth or ".." in parts[climbing:] or not target
    if outside:
        raise _refused(
            f"{who} adds the symlink {_shown(change.path)} to {_shown(target)}, which may lead out of the repository",
            "use a relative link that goes straight to a path inside, or a plain file",
        )
    if (meant := posixpath.normpath(posixpath.join(posixpath.dirname(change.path), target))) != ".":
        refuse_path(meant, who)


def _without_leading_dots(parts: list[str]) -> list[str]:
    rest = list(parts)
    while rest and rest[0] == "..":
        rest.pop(0)
    return rest


def protected_by(path: str, patterns: Iterable[str]) -> str:
    """The pattern that protects a path; empty when none does. Case is ignored, as some file systems do."""
    folded = path.casefold()
    parts = folded.split("/")
    for pattern in patterns:
        wanted = pattern.casefold()
        body = wanted.strip("/")
        rooted = "/" in wanted.rstrip("/")
        # With a directory pattern every ancestor counts, with a file pattern the path itself.
        ends = range(1, len(parts)) if wanted.endswith("/") else (len(parts),)
        for end in ends:
            candidate = "/".join(parts[:end]) if rooted else parts[end - 1]
            if fnmatch.fnmatchcase(candidate, body):
                return pattern
    return ""


def _is_gitmodules(path: str) -> bool:
    return any(_GIT_MODULES.match(_normal(part)) for part in _parts(path))


def _parts(path: str) -> list[str]:
    return re.split(r"[/\\]", path)


def _normal(part: str) -> str:
    """A path component as the most forgiving file system takes it: HFS+ ignores characters, NTFS ends a name at a
    colon and drops dots and spaces behind it."""
    plain = _HFS_IGNORED.sub("", part).casefold()
    if plain in {".", ".."}:
        return plain
    stripped = plain.partition(":")[0].rstrip(". ")
    return stripped if stripped or not plain else ".."


def _shown(path: str) -> str:
    return repr(path if len(path) <= 120 else f"{path[:120]}…")


def _refused(facts: str, next_step: str) -> errors.UnsafeWork:
    return errors.UnsafeWork(f"the work was not published: {facts}: {next_step}")
