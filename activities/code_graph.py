"""Asks the code graph about a repository of this host, in a process of its own that is bounded in time and memory.

Running it twice is safe: it reads the host's mirror, which no agent can write, and keeps what it has read in the
mirror's own folder, where every run of this host finds it. Nothing here fails a run: whoever asks gets an answer, or
the reason why there is none.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pydantic
import structlog

import codegraph
from codegraph import clean
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
_CODE: Final = Path(__file__).resolve().parents[1]
_STORE: Final = "fettle"
"""Folder of the graph's store in a git directory, as `codegraph.store` has it."""
_START: Final = "import sys; sys.path[:] = sys.argv[1:]; from activities import graph_child; graph_child.main()"

Answer = TypeVar("Answer", bound=code_graph.Message)


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
        asked = {"ask": "map", "text": task[:_MOST_TEXT], "budget": self.map_tokens}
        found = await self._answer(repo, (rev,), {**asked, "rev": rev}, code_graph.Map)
        return found.model_copy(update={"text": self.redactor.redact(found.text), "gaps": clean.line(found.gaps, 300)})

    async def radius(
        self, repo: refs.Repository, base: str, head: str, *, seconds: float | None = None
    ) -> code_graph.Radius:
        """What the change from `base` to `head` can break. Its paths are as they are in the repository.

        Args:
            seconds: A limit below this host's own.
        """
        asked = {"ask": "blast", "rev": base, "head": head}
        return await self._answer(repo, (base, head), asked, code_graph.Radius, seconds)

    async def suspects(self, repo: refs.Repository, rev: str, trace: object) -> code_graph.Suspects:
        """Which files of `rev` a stack trace runs in.

        Args:
            trace: Any JSON with frames in it, as crash reporters send it.
        """
        asked = {"ask": "suspects", "rev": rev, "trace": trace, "names": [str(repo)]}
        if len(json.dumps(asked, default=str)) > _MOST_TRACE:
            return code_graph.Suspects(missing=f"the stack trace has more than {_MOST_TRACE} characters")
        return await self._answer(repo, (rev,), asked, code_graph.Suspects)

    async def _answer(
        self,
        repo: refs.Repository,
        commits: tuple[str, ...],
        asked: Mapping[str, Any],
        kind: type[Answer],
        seconds: float | None = None,
    ) -> Answer:
        seconds = min(self.seconds, seconds or self.seconds)
        try:
            async with asyncio.timeout(seconds):
                source = self.mirrors.of(repo)
                if missing := await _unknown(source, commits):
                    return kind(missing=missing)
                async with self._turn:
                    done = await process.capture(self._spec(source, asked), seconds=seconds, most=_MOST_ANSWER)
        except TimeoutError:
            return self._without(kind, repo, f"it was not ready after {seconds:g} s", asked)
        except (errors.FettleError, OSError) as failure:
            return self._without(kind, repo, "it could not be made on this host", asked, str(failure))
        if done.timed_out:
            return self._without(kind, repo, f"it was not ready after {seconds:g} s", asked)
        if done.status.exceeded:
            return self._without(kind, repo, "it needs more memory than it may have", asked, done.status.exceeded)
        if done.status.exit_code != 0:
            said = done.stderr.decode("utf-8", "replace")[-1000:]
            return self._without(kind, repo, "it could not be made", asked, f"{done.status}: {said}")
        try:
            return kind.model_validate_json(done.stdout)
        except pydantic.ValidationError as wrong:
            return self._without(kind, repo, "its answer could not be read", asked, str(wrong))

    def _without(
        self, kind: type[Answer], repo: refs.Repository, missing: str, asked: Mapping[str, Any], why: str = ""
    ) -> Answer:
        _log.warning(
            "a run goes on without the code graph",
            repository=str(repo),
            asked=asked["ask"],
            missing=missing,
            because=self.redactor.redact(why),
        )
        return kind(missing=missing)

    def _spec(self, source: mirror.Mirror, asked: Mapping[str, Any]) -> process.Spec:
        store = source.path / _STORE
        store.mkdir(mode=0o700, exist_ok=True)
        path = [str(_CODE), *filter(os.path.isabs, sys.path)]
        argv = (sys.executable, "-I", "-S", "-c", _START, *path)
        return process.Spec(
            argv=_walled(argv, source.path, store, path),
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            cwd=source.path,
            stdin=json.dumps({**asked, "repository": str(source.path)}, default=str).encode(),
            rlimits=limits.ProcessLimits(memory_mebibytes=self.memory_mebibytes, niceness=_NICENESS),
            grace_seconds=0,
        )


def _walled(argv: tuple[str, ...], repository: Path, store: Path, path: list[str]) -> tuple[str, ...]:
    """Grammars are C that reads what strangers wrote. Where the kernel can hold it, the process reads the mirror and
    the programs, and writes its store: neither the worker's secrets nor another run are in reach."""
    if landlock.version() < landlock.LEAST_VERSION:
        return argv
    python = Path(sys.executable)
    programs = [*trees.SYSTEM, *trees.of_interpreter(python.resolve()), trees.OWN, Path(codegraph.__file__).parent]
    with suppress(LookupError):  # the question then fails, and says why
        programs += trees.of_program("git", os.environ.get("PATH", os.defpath))[1]
    read = [*map(str, programs), "/etc", "/proc", *path[1:], str(_CODE / "activities"), str(repository)]
    return spec_.caged(python, trees.OWN / "cage.py", argv, read=read, write=["/dev/null", str(store)])


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
