"""Forecast whether a run will collide with others of its repository: which files each of them will probably change."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from temporalio import activity

from activities import code_graph, heartbeats, worktree
from codegraph import clean
from domain import code_graph as facts
from domain import errors, path_leases, refs, wire
from domain.brief import BODY_LIMIT, TITLE_LIMIT, bounded
from domain.redaction import Redactor
from integrations.forge.port import Forge
from integrations.git import mirror

_log = structlog.stdlib.get_logger(__name__)

_SECONDS: Final = 75.0
"""For everything together: `options.FORECAST` gives an attempt 90."""
_FETCH_SECONDS: Final = 30.0
_GRAPH_SECONDS: Final = 40.0
_AT_ONCE: Final = 8
"""Issues that are read from the forge side by side."""
_LONGEST_PATH: Final = 4096
"""Characters of a path before secrets are masked in it: what is invisible must not hide them, nor a cut."""
_LIKELY: Final = 0.25
"""Of the likeliest file's chance: what is less likely explains nothing to people."""


@dataclass(frozen=True)
class _Ground:
    """What a comparison stands on: a commit of the base branch, and the work that other runs have pushed so far."""

    base: str
    heads: Mapping[str, str]
    """Commits by the workflow id of their run."""


class _Unknown(Exception):
    """Nothing can be compared; the message says why, as a clause."""


@dataclass(frozen=True)
class PathLeaseActivities:
    """Runs on agent hosts, which have mirrors. `graph` None: it is switched off here."""

    forge: Forge
    mirrors: mirror.Mirrors
    redactor: Redactor
    graph: code_graph.CodeGraph | None = None
    _fetches: dict[refs.Repository, asyncio.Task[None]] = field(default_factory=dict, repr=False, compare=False)
    """Those under way, one for each mirror."""

    @activity.defn(name=wire.PREDICT_CONFLICTS)
    async def predict_conflicts(self, question: path_leases.Question) -> path_leases.Forecast:
        """Compare an issue's text with what other runs have pushed, or with their issues' texts while they have pushed
        nothing. Running twice is safe: it only reads, and a mirror is brought up to date. It never fails a run: what
        cannot be known comes with the reason."""
        async with heartbeats.beating():
            try:
                async with asyncio.timeout(_SECONDS):
                    return await self._forecast(question)
            except TimeoutError:
                why, because = f"it was not ready after {_SECONDS:g} s", ""
            except _Unknown as unknown:
                why, because = str(unknown), str(unknown.__cause__ or "")
        _log.warning("no forecast", run=question.run, missing=why, because=self.redactor.redact(because))
        return path_leases.Forecast(missing=why)

    async def _forecast(self, question: path_leases.Question) -> path_leases.Forecast:
        if self.graph is None:
            raise _Unknown("the code graph is switched off on the host that was asked")
        texts = await self._texts((question.run, *question.others))
        if question.run not in texts:
            raise _Unknown("the text of its issue could not be read")
        ground = await self._ground(question)
        pushed = [run for run in question.others if run in ground.heads]
        told = [run for run in question.others if run not in ground.heads and run in texts]
        if not pushed and not told:
            return path_leases.Forecast(pairs=tuple(self._pair(run, None, pushed=False) for run in question.others))
        found = await self.graph.collisions(
            question.repo,
            ground.base,
            texts[question.run],
            others=[texts[run] for run in told],
            heads=[ground.heads[run] for run in pushed],
            seconds=_GRAPH_SECONDS,
        )
        if found.missing:
            raise _Unknown(found.missing)
        known = dict(zip((*told, *pushed), (*found.texts, *found.branches), strict=True))
        pairs = (self._pair(run, known.get(run), pushed=run in pushed) for run in question.others)
        return path_leases.Forecast(pairs=tuple(pairs))

    def _pair(self, run: str, found: facts.Collision | None, *, pushed: bool) -> path_leases.Pair:
        if found is None:
            return path_leases.Pair(run=run, missing="the text of its issue could not be read")
        best = found.files[0][1] if found.files else 0.0
        likely = [path for path, chance in found.files if chance >= _LIKELY * best][: path_leases.MOST_FILES]
        names = tuple(clean.line(self.redactor.redact(clean.line(path, _LONGEST_PATH))) for path in likely)
        return path_leases.Pair(run=run, probability=found.probability, files=names, pushed=pushed)

    async def _texts(self, runs: Sequence[str]) -> dict[str, str]:
        """What the issues of the runs say, by run; those that cannot be read are left out."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read(run: str) -> str | None:
            async with gate:
                try:
                    issue = await self.forge.issue(refs.Issue.from_workflow_id(run))
                except (errors.FettleError, ValueError) as unread:
                    _log.warning("an issue could not be read", run=run, because=self.redactor.redact(str(unread)))
                    return None
            return f"{bounded(issue.title, TITLE_LIMIT)}\n\n{bounded(issue.body, BODY_LIMIT)}"

        found = await asyncio.gather(*map(read, runs))
        return {run: text for run, text in zip(runs, found, strict=True) if text is not None}

    async def _ground(self, question: path_leases.Question) -> _Ground:
        source = self.mirrors.of(question.repo)
        try:
            await self._fetched(question.repo)
            base = await source.branch(question.base_branch)
            heads = {run: await _head(source, run, base) for run in question.others} if base else {}
        except errors.FettleError as failed:
            raise _Unknown("the repository could not be fetched") from failed
        if not base:
            raise _Unknown(f"the forge has no branch {clean.line(question.base_branch)}")
        return _Ground(base, {run: head for run, head in heads.items() if head})

    async def _fetched(self, repo: refs.Repository) -> None:
        """A fetch is waited for, and never cut short: git would leave the half of a pack in the mirror for hours, and
        load it again for the next question. It goes on, and the next question finds what it brought."""
        if (fetch := self._fetches.get(repo)) is None:
            fetch = self._fetches[repo] = asyncio.create_task(self._fetch(repo))
            fetch.add_done_callback(lambda done: self._forget(repo, done))
        done, _ = await asyncio.wait({fetch}, timeout=_FETCH_SECONDS)
        if not done:
            raise _Unknown(f"the repository was not fetched after {_FETCH_SECONDS:g} s")
        await fetch

    async def _fetch(self, repo: refs.Repository) -> None:
        await self.mirrors.of(repo).fetch(await worktree.remote_of(self.forge, repo))

    def _forget(self, repo: refs.Repository, fetch: asyncio.Task[None]) -> None:
        """Perhaps nobody waits for it any more."""
        self._fetches.pop(repo, None)
        if not fetch.cancelled() and (failed := fetch.exception()) is not None:
            because = self.redactor.redact(str(failed))
            _log.warning("no fetch for a forecast", repository=str(repo), because=because)


async def _head(source: mirror.Mirror, run: str, base: str) -> str:
    """The newest work of a run that is pushed and not in its base; empty while there is none."""
    try:
        issue = refs.Issue.from_workflow_id(run)
    except ValueError:
        return ""
    folder = f"refs/heads/{wire.WORK_BRANCH_PREFIX}{issue.number}"
    listed = await source.git.run(
        *("for-each-ref", "--sort=-committerdate", "--format=%(objectname)", folder, f"{folder}-*"), at=source.place
    )
    for head in listed.text.splitlines()[:1]:
        if await source.merge_base(base, head) not in {"", head}:
            return head
    return ""
