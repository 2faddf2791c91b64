"""Asks the code graph about a repository of this host, in a process of its own that is bounded in time and memory.

Running it twice is safe: it reads the host's mirror, which no agent can write, and keeps what it has read in the
mirror's own folder, where every run of this host finds it. Nothing here fails a run: whoever asks gets an answer, or
the reason why there is none.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict

import codegraph
from codegraph import clean, skips
from domain import code_graph, errors, refs
from domain.redaction import Redactor
from integrations.git import mirror, names
from sandbox import landlock, limits, process, trees
from sandbox import spec as spec_

_log = structlog.stdlib.get_logger(__name__)

REVIEW_SECONDS: Final = 60.0
"""The longest that a review waits for it: the judge itself may take 8 of its activity's 10 minutes."""
_MOST_ANSWER: Final = 4 * 1024 * 1024
_MOST_TEXT: Final = 30_000
_MOST_TRACE: Final = 1024 * 1024
_NICENESS: Final = 15
_PATHS: Final = 200
"""Paths that one command line names: it takes them all, however long they are."""
_CODE: Final = Path(__file__).resolve().parents[1]
_STORE: Final = "fettle"
"""Folder of the graph's store in a git directory, as `codegraph.store` has it."""
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from codegraph import __main__ as program; sys.exit(program.main())"
)
"""`python -m codegraph`, found where this process found it, whatever the working directory holds."""

Answer = TypeVar("Answer", bound="_Answer")


class _Answer(BaseModel):
    """What `python -m codegraph` prints; `missing` is ours."""

    model_config = ConfigDict(extra="ignore")

    missing: str = ""


class _Map(_Answer):
    map: str = ""
    missing_grammars: dict[str, int] = {}
    absent: int = 0


class _Changed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    path: str


class _Radius(_Answer):
    changed: tuple[_Changed, ...] = ()
    review: tuple[code_graph.Touched, ...] = ()
    tests: tuple[code_graph.Touched, ...] = ()
    watch: tuple[code_graph.Touched, ...] = ()
    left_out: int = 0


class _Frame(BaseModel):
    model_config = ConfigDict(extra="ignore")

    path: str | None = None


class _Trace(_Answer):
    frames: tuple[_Frame, ...] = ()
    suspects: tuple[code_graph.Suspect, ...] = ()


class _Branch(code_graph.Collision):
    branch: str = ""


class _Clashes(_Answer):
    clashes: tuple[code_graph.Collision, ...] = ()
    branches: tuple[_Branch, ...] = ()


@dataclass(frozen=True)
class _Question:
    """One command line of `python -m codegraph`, and the commits that it names."""

    command: str
    commits: tuple[str, ...]
    options: tuple[str, ...] = ()
    stdin: bytes = b""


@dataclass(frozen=True)
class CodeGraph:
    """The code graphs of this host's mirrors.

    Args:
        seconds: What one question may take, waiting for its turn included.
        memory_mebibytes: What answering it may take. 0: no limit.
        map_tokens: The longest map, in tokens of a model, estimated carefully.
    """

    mirrors: mirror.Mirrors
    redactor: Redactor
    seconds: float = 60
    memory_mebibytes: int = 1024
    map_tokens: int = 2000
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)
    """One question at a time: the second one finds what the first has read."""

    async def map_of(self, repo: refs.Repository, rev: str, task: str) -> code_graph.Map:
        """Where to look at `rev` for what `task` speaks of."""
        options = ("--rev", rev, "--budget", str(self.map_tokens))
        asked = _Question("map", (rev,), options, task[:_MOST_TEXT].encode("utf-8", "replace"))
        found = await self._answer(repo, asked, _Map)
        if found.missing or not found.map:
            return code_graph.Map(missing=found.missing or "no file that it reads holds a word of the task")
        return code_graph.Map(text=self.redactor.redact(found.map), gaps=_gaps(found))

    async def radius(
        self, repo: refs.Repository, base: str, head: str, *, seconds: float | None = None
    ) -> code_graph.Radius:
        """What the change from `base` to `head` can break. Its paths are as they are in the repository.

        Args:
            seconds: A limit below this host's own.
        """
        asked = _Question("blast", (base, head), ("--base", base, "--head", head))
        found = await self._answer(repo, asked, _Radius, seconds)
        if found.missing:
            return code_graph.Radius(missing=found.missing)
        changed = tuple(each.path for each in found.changed if skips.is_test(each.path))
        held = await self._held(repo, head, (*changed, *(each.path for each in found.tests)))
        return code_graph.Radius(
            review=found.review,
            tests=tuple(each for each in found.tests if each.path in held),
            watch=found.watch,
            changed_tests=tuple(path for path in changed if path in held),
            left_out=found.left_out,
        )

    async def suspects(self, repo: refs.Repository, rev: str, trace: object) -> code_graph.Suspects:
        """Which files of `rev` a stack trace runs in. Paths and names are as they are in the repository.

        Args:
            trace: Any JSON with frames in it, as crash reporters send it.
        """
        stdin = json.dumps(trace).encode()
        if len(stdin) > _MOST_TRACE:
            return code_graph.Suspects(missing=f"the stack trace has more than {_MOST_TRACE} bytes")
        found = await self._answer(
            repo, _Question("frames", (rev,), ("--rev", rev, "--name", str(repo)), stdin), _Trace
        )
        foreign = sum(each.path is None for each in found.frames)
        return code_graph.Suspects(
            missing=found.missing, files=found.suspects, frames=len(found.frames), foreign=foreign
        )

    async def collisions(
        self,
        repo: refs.Repository,
        rev: str,
        text: str,
        *,
        others: Sequence[str] = (),
        heads: Sequence[str] = (),
        seconds: float | None = None,
    ) -> code_graph.Collisions:
        """Whether work for a text at `rev` collides with work for other texts, and with the work that stands on other
        commits since they left `rev`. Paths are as they are in the repository.

        Args:
            heads: Commits that have one in common with `rev`.
            seconds: A limit below this host's own.
        """
        told = [each[:_MOST_TEXT].encode("utf-8", "replace").decode() for each in (text, *others)]
        options = ("--rev", rev, *(part for head in heads for part in ("--branch", head)))
        asked = _Question("conflict", (rev, *heads), options, json.dumps(told).encode())
        found = await self._answer(repo, asked, _Clashes, seconds)
        if found.missing:
            return code_graph.Collisions(missing=found.missing)
        by_head = {each.branch: each for each in found.branches}
        return code_graph.Collisions(
            texts=found.clashes, branches=tuple(by_head.get(head, code_graph.Collision()) for head in heads)
        )

    async def _held(self, repo: refs.Repository, head: str, paths: tuple[str, ...]) -> frozenset[str]:
        """Those of the paths that `head` holds."""
        if not paths:
            return frozenset()
        source = self.mirrors.of(repo)
        asked = ("--literal-pathspecs", "ls-tree", "-z", "--name-only", "--full-tree", head, "--")
        found: set[str] = set()
        try:
            for start in range(0, len(paths), _PATHS):
                listed = await source.git.run(*asked, *paths[start : start + _PATHS], at=source.place)
                found.update(listed.stdout.decode("utf-8", "replace").split("\0"))
        except errors.GitFailed as failure:
            _log.warning("tests are not named first", repository=str(repo), because=str(failure))
            return frozenset()
        return frozenset(found.intersection(paths))

    async def _answer(
        self, repo: refs.Repository, asked: _Question, kind: type[Answer], seconds: float | None = None
    ) -> Answer:
        seconds = min(self.seconds, seconds or self.seconds)
        try:
            async with asyncio.timeout(seconds):
                source = self.mirrors.of(repo)
                if missing := await _unknown(source, asked.commits):
                    return kind(missing=missing)
                async with self._turn:
                    done = await process.capture(self._spec(source, asked), seconds=seconds, most=_MOST_ANSWER)
        except TimeoutError:
            return self._without(kind, repo, asked, f"it was not ready after {seconds:g} s")
        except (errors.FettleError, OSError) as failure:
            return self._without(kind, repo, asked, "it could not be made on this host", str(failure))
        if done.timed_out:
            return self._without(kind, repo, asked, f"it was not ready after {seconds:g} s")
        if done.status.exceeded:
            return self._without(kind, repo, asked, "it needs more than it may have here", done.status.exceeded)
        if done.status.exit_code != 0:
            said = " ".join((done.stdout[-500:] + b" " + done.stderr[-500:]).decode("utf-8", "replace").split())
            return self._without(kind, repo, asked, "it could not be made", f"{done.status}: {said}")
        try:  # a path that is no UTF-8 comes with lone surrogates, which models refuse
            plain = json.dumps(json.loads(done.stdout), ensure_ascii=False).encode("utf-8", "replace")
            return kind.model_validate_json(plain)
        except (ValueError, RecursionError) as wrong:
            return self._without(kind, repo, asked, "its answer could not be read", str(wrong)[:1000])

    def _without(
        self, kind: type[Answer], repo: refs.Repository, asked: _Question, missing: str, why: str = ""
    ) -> Answer:
        because = self.redactor.redact(why)
        _log.warning("no code graph", repository=str(repo), asked=asked.command, missing=missing, because=because)
        return kind(missing=missing)

    def _spec(self, source: mirror.Mirror, asked: _Question) -> process.Spec:
        store = source.path / _STORE
        with suppress(OSError):  # then what is read is read again next time
            store.mkdir(mode=0o700, exist_ok=True)
        path = [str(_CODE), *filter(os.path.isabs, sys.path)]
        python = (sys.executable, "-I", "-S", "-c", _START, json.dumps(path))
        argv = (*python, asked.command, "--repo", str(source.path), "--store", str(store), *asked.options)
        return process.Spec(
            argv=walled(argv, source.path, store, path),
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            cwd=source.path,
            stdin=asked.stdin,
            rlimits=limits.ProcessLimits(memory_mebibytes=self.memory_mebibytes, niceness=_NICENESS),
            grace_seconds=0,
        )


def walled(argv: tuple[str, ...], repository: Path, store: Path, path: list[str]) -> tuple[str, ...]:
    """Grammars are C that reads what strangers wrote. Where the kernel can hold it, the process reads the mirror and
    the programs, and writes its store: neither the worker's files and environment nor another run are in reach."""
    if landlock.version() < landlock.LEAST_VERSION:
        return argv
    python = Path(sys.executable)
    programs = [*trees.SYSTEM, *trees.of_interpreter(python.resolve()), trees.OWN, Path(codegraph.__file__).parent]
    with suppress(LookupError):  # the question then fails, and says why
        programs += trees.of_program("git", os.environ.get("PATH", os.defpath))[1]
    read = [*map(str, (*programs, *trees.CONFIGURATION)), *path[1:], str(repository)]
    return spec_.caged(python, trees.OWN / "cage.py", argv, read=read, write=["/dev/null", str(store)])


def _gaps(found: _Map) -> str:
    parts = [
        f"{count} files in {name}, whose grammar is not installed" for name, count in found.missing_grammars.items()
    ]
    if found.absent:
        parts.append(f"{found.absent} files whose contents are not in this clone")
    return clean.line("; ".join(parts), 300)


def for_reviewer(radius: code_graph.Radius) -> str:
    """The radius as text for a prompt: bounded, and without what a reader could take for anything but names."""
    lists = {"review": radius.review, "tests": radius.tests, "watch": radius.watch}
    return code_graph.text_of(radius.model_copy(update={name: _cleaned(files) for name, files in lists.items()}))


def _cleaned(files: Sequence[code_graph.Touched]) -> tuple[code_graph.Touched, ...]:
    return tuple(
        each.model_copy(
            update={"path": clean.line(each.path), "reasons": tuple(clean.line(reason) for reason in each.reasons)}
        )
        for each in files
    )


async def _unknown(source: mirror.Mirror, commits: tuple[str, ...]) -> str:
    """Why this host's mirror cannot be asked about these commits; empty when it can."""
    if not await asyncio.to_thread((source.path / "HEAD").exists):
        return "this host has no copy of the repository"
    for sha in commits:
        if not names.SHA.match(sha) or not await source.resolve(sha):
            return f"this host does not have the commit {clean.line(sha)[:12] or '(none was named)'}"
    return ""
