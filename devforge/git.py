"""Git on bare repositories: one runner with a clean environment, and the questions the forge asks.

Arguments that come from outside are full ref names or full commit ids, or stand behind `--end-of-options`, so a
branch that is named like an option stays a name. No system, global or inherited configuration is read.
"""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from devforge import errors

ZERO = "0" * 40
SHA = re.compile(r"^[0-9a-f]{40}$")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(/|$)|(^|/)\.|\.$|/$|^/")
_COMMIT_CACHE = 20_000


@dataclass(frozen=True)
class Person:
    """Who wrote or committed, as git records it; `date` is ISO 8601."""

    name: str
    email: str
    date: str = ""


@dataclass(frozen=True)
class Commit:
    """A parsed commit object."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git may see: a path, a locale, and no configuration but the repository's own."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        **(extra or {}),
    }


def valid_branch(name: str) -> bool:
    """Whether `refs/heads/<name>` is a ref name that git accepts (the rules of `git check-ref-format`)."""
    return 0 < len(name) <= 240 and name != "@" and not _FORBIDDEN.search(name)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text; undecodable bytes are replaced."""
        return self.out.decode("utf-8", "replace")


async def run(
    repository: Path | None,
    *arguments: str,
    ok: Sequence[int] = (0,),
    stdin: bytes | None = None,
    extra: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Result:
    """Run git on a bare repository.

    Raises:
        GitFailed: the exit code is not one of `ok`, or the time-out (seconds) passed.
    """
    where = () if repository is None else (f"--git-dir={repository}",)
    process = await asyncio.create_subprocess_exec(
        "git",
        "-c",
        "safe.directory=*",
        "-c",
        "core.quotePath=false",
        *where,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra),
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout)
    except TimeoutError as late:
        raise errors.GitFailed(arguments, -1, f"no end after {timeout:g} s") from late
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    code = process.returncode or 0
    if code not in ok:
        raise errors.GitFailed(arguments, code, err.decode("utf-8", "replace"))
    return Result(code, out, err.decode("utf-8", "replace"))


_commits: dict[str, Commit] = {}


async def commit(repository: Path, sha: str) -> Commit | None:
    """The commit object with this full id, or None when the repository has no such commit."""
    key = f"{repository}:{sha}"
    if key not in _commits:
        result = await run(repository, "cat-file", "commit", sha, ok=(0, 128))
        if result.code:
            return None
        if len(_commits) > _COMMIT_CACHE:
            _commits.clear()
        _commits[key] = _parse_commit(sha, result.text)
    return _commits[key]


async def commits(repository: Path, *revisions: str, limit: int = 250, skip: int = 0) -> list[Commit]:
    """The commits of a range of full ids (`^a b`), newest first."""
    listing = await run(
        repository, "rev-list", "--topo-order", f"--max-count={limit}", f"--skip={skip}", *revisions, "--"
    )
    shas = listing.text.split()
    missing = [sha for sha in shas if f"{repository}:{sha}" not in _commits]
    if missing:
        batch = await run(repository, "cat-file", "--batch", stdin="\n".join(missing).encode() + b"\n")
        _remember(repository, batch.out)
    return [_commits[f"{repository}:{sha}"] for sha in shas]


def _remember(repository: Path, data: bytes) -> None:
    """Take apart the output of `cat-file --batch`: header line, body, newline."""
    if len(_commits) > _COMMIT_CACHE:
        _commits.clear()
    position = 0
    while position < len(data):
        end = data.index(b"\n", position)
        sha, _, size = data[position:end].decode().split(" ")
        body = data[end + 1 : end + 1 + int(size)]
        _commits[f"{repository}:{sha}"] = _parse_commit(sha, body.decode("utf-8", "replace"))
        position = end + 2 + int(size)


def _parse_commit(sha: str, text: str) -> Commit:
    head, _, message = text.partition("\n\n")
    tree, parents, people = "", [], {}
    for line in head.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "tree":
            tree = rest
        elif word == "parent":
            parents.append(rest)
        elif word in ("author", "committer"):
            people[word] = _parse_person(rest)
    nobody = Person("", "", "1970-01-01T00:00:00Z")
    return Commit(sha, tree, tuple(parents), people.get("author", nobody), people.get("committer", nobody), message)


def _parse_person(text: str) -> Person:
    match = re.match(r"^(.*?) ?<([^>]*)> (-?\d+)", text)
    if match is None:
        return Person(text, "", "1970-01-01T00:00:00Z")
    moment = datetime.fromtimestamp(min(max(int(match[3]), 0), 253402300799), UTC)
    return Person(match[1], match[2], moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


async def references(repository: Path) -> dict[str, str]:
    """Every branch and tag with the object it names."""
    listing = await run(repository, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
    pairs = (line.split(" ", 1) for line in listing.text.splitlines())
    return {name: sha for sha, name in pairs}


async def update(repository: Path, name: str, new: str, old: str | None = None) -> None:
    """Set a ref (new = ZERO deletes it) if it still is `old`; None does not compare, ZERO means it must not exist.

    Raises:
        GitFailed: the ref is another one by now, or git refuses the name.
    """
    verb = f"delete {name}" if new == ZERO else f"update {name} {new}"
    await run(repository, "update-ref", "--stdin", stdin=f"{verb}{'' if old is None else ' ' + old}\n".encode())


async def is_ancestor(repository: Path, older: str, newer: str) -> bool:
    """Whether `older` is reachable from `newer`; a missing object is not reachable."""
    if older == newer:
        return True
    return (await run(repository, "merge-base", "--is-ancestor", older, newer, ok=(0, 1, 128))).code == 0


async def merge_base(repository: Path, left: str, right: str) -> str | None:
    """A best common ancestor, or None for unrelated histories."""
    result = await run(repository, "merge-base", left, right, ok=(0, 1))
    return result.text.split()[0] if result.code == 0 else None


async def distance(repository: Path, base: str, head: str) -> tuple[int, int]:
    """How many commits `head` is (ahead of, behind) `base`."""
    result = await run(repository, "rev-list", "--left-right", "--count", f"{base}...{head}", "--")
    behind, ahead = result.text.split()
    return int(ahead), int(behind)


async def blob(repository: Path, sha: str, path: str) -> bytes | None:
    """A file's content at a commit, or None when there is no such file."""
    result = await run(repository, "cat-file", "blob", f"{sha}:{path}", ok=(0, 128))
    return result.out if result.code == 0 else None


async def expand(repository: Path, short: str) -> str | None:
    """The full id of an abbreviated commit id, or None."""
    if not re.fullmatch(r"[0-9a-f]{4,40}", short):
        return None
    result = await run(repository, "rev-parse", "--verify", "--quiet", f"{short}^{{commit}}", ok=(0, 1, 128))
    return result.text.strip() if result.code == 0 else None
