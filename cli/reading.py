"""Print an agent's output, once or for as long as the run lives."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowExecutionStatus

from cli import failures, listing, milestones, render, runs, transcript
from domain import refs
from workers import settings

_POLL_SECONDS: Final = 0.5
_ASK_SECONDS: Final = 2.0
"""How often the server is asked whether the run has ended."""


async def logs(client: Client, run: str, *, turn: int | None, follow: bool, raw: bool, as_json: bool) -> None:
    """Print one turn, or everything from it on until the run ends.

    Raises:
        failures.Failed: nothing of the agent is on this machine, or not that turn.
    """
    issue = await listing.find(client, run)
    artifacts = settings.load().artifacts_dir
    known = transcript.turns(artifacts, issue)
    if not follow and (turn or 1) not in known and not (turn is None and known):
        raise failures.Failed(_nothing(issue, artifacts, known, turn))
    first = turn if turn is not None else transcript.newest(artifacts, issue) or 1
    backend = await _backend(client, issue, artifacts, first)
    if as_json:
        render.emit_json(_events(artifacts, issue, backend, first))
        return
    show = _Show(backend, raw=raw)
    if follow:
        await _follow(client, issue, artifacts, first, show, only_one=turn is not None)
    else:
        show.lines(transcript.Tap(artifacts / transcript.key(issue, first)).read(rest=True))


async def _follow(
    client: Client, issue: refs.Issue, artifacts: Path, turn: int, show: "_Show", *, only_one: bool
) -> None:
    """A turn is over when a later one has begun, or when the run has ended."""
    loop = asyncio.get_running_loop()
    aside = milestones.Milestones(client, issue)
    tap, ask_at, ended = transcript.Tap(artifacts / transcript.key(issue, turn)), loop.time(), False
    known = 0
    while True:
        later = transcript.after(artifacts, issue, turn)
        if known != turn and (artifacts / transcript.key(issue, turn)).exists():
            known = turn
            show.read_as(await _backend(client, issue, artifacts, turn))  # each turn may be another agent's
        show.lines(tap.read(rest=bool(later) or ended))
        if later and only_one:
            return
        if later:
            turn = later[0]
            tap = transcript.Tap(artifacts / transcript.key(issue, turn))
            render.progress(f"--- turn {turn}")
            continue
        if ended:
            render.progress(f"{issue} has ended: fettle status {issue}")
            return
        if loop.time() >= ask_at:
            ended = (await runs.describe(client, issue)).status is not WorkflowExecutionStatus.RUNNING
            for line in await aside.look():
                render.progress(f"--- {line}")
            ask_at = loop.time() + _ASK_SECONDS
        if not ended:
            await asyncio.sleep(_POLL_SECONDS)


async def _backend(client: Client, issue: refs.Issue, artifacts: Path, turn: int) -> str:
    """The agent whose format a turn's output has; empty when neither the turn nor a worker says it, and the lines are
    shown as they are."""
    if written := transcript.writer(artifacts, issue, turn):
        return written
    try:
        state = await runs.query(client, issue)
    except runs.NotAnswered:
        return ""
    found = await runs.query_round(client, issue)  # who takes a turn is the pool's to say: the round knows it first
    session = (found.session if found else None) or state.session
    return session.backend if session else state.backend


def _events(artifacts: Path, issue: refs.Issue, backend: str, turn: int) -> list[dict[str, Any]]:
    parse = transcript.parser(backend)
    tap = transcript.Tap(artifacts / transcript.key(issue, turn))
    return [{"round": turn, **e.model_dump(mode="json")} for line in tap.read(rest=True) for e in parse(line)]


class _Show:
    def __init__(self, backend: str, *, raw: bool) -> None:
        self._parse = transcript.parser(backend)
        self._raw = raw

    def read_as(self, backend: str) -> None:
        """What comes next is that agent's; empty: nobody knows, and it is shown as before."""
        if backend:
            self._parse = transcript.parser(backend)

    def lines(self, found: Iterator[bytes]) -> None:
        for line in found:
            if self._raw and not sys.stdout.isatty():
                sys.stdout.buffer.write(line + b"\n")
            elif self._raw:
                print(render.clean(line.decode("utf-8", "replace")))
            else:
                for event in self._parse(line):
                    for text in transcript.lines(event):
                        print(text)
        sys.stdout.flush()


def _nothing(issue: refs.Issue, artifacts: Path, known: list[int], turn: int | None) -> str:
    if known:
        return f"{issue} has no turn {turn}: there are {', '.join(map(str, known))}, name one of them with --round"
    return (
        f"no output of an agent of {issue} is in {artifacts}: no turn has begun (fettle explain {issue}), or set "
        "FETTLE_ARTIFACTS_DIR to the folder that the agent hosts write to"
    )
