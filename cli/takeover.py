"""A person takes a run's worktree and session over, and hands them back."""

import asyncio
import shlex
from pathlib import PurePosixPath
from typing import Final

from pydantic import BaseModel
from temporalio.client import Client

from activities import artifact_store, turn_checkpoint
from cli import failures, listing, render, runs, session, steer
from domain import agent, implement, refs, steps, wire
from domain.implement import Handback
from domain.run import State, TakeoverRequest
from workers import settings

_LOOK_SECONDS: Final = 0.5

_ENTER: Final = {
    "claude": "CLAUDE_CONFIG_DIR={config} claude --resume {id}",
    "codex": "CODEX_HOME={config} codex resume {id}",
    "gemini": "HOME={parent} gemini --resume {id}",
    "opencode": "XDG_DATA_HOME={parent} opencode --session {id}",
}
"""How a person goes on in an agent's own conversation, which is in the run's home and not in theirs. A backend that is
missing here has none that a person can enter by the id alone."""


class Place(BaseModel):
    """Where a person finds the work. `enter` is empty when the agent has no conversation that a person can enter."""

    run: str
    host: str
    worktree: str
    session: str = ""
    backend: str = ""
    enter: str = ""


def take(run: str, *, now: bool, note: str, wait_seconds: float, as_json: bool) -> None:
    """Freeze a run at its next safe point and say where the work is. Asking again says it again.

    Raises:
        failures.Failed: the run ended, or no safe point came within `wait_seconds`; the request stands.
    """

    async def work(client: Client) -> Place:
        issue = await listing.find(client, run)
        state = await runs.query(client, issue)
        request = steer.checked(lambda: TakeoverRequest(by=session.operator(), note=note, now=now))
        theirs = steps.taken_over(state) and state.hold is not None and state.hold.by == request.by
        if now or not theirs:  # what somebody else has is refused, in the run's words
            state = await runs.update(client, issue, wire.TAKE_OVER, request)
            render.progress(
                f"{issue} is yours at its next safe point" + ("" if now else "; --now does not wait for it")
            )
        return await _safe_point(client, issue, wait_seconds)

    found = session.call(work)
    render.emit(found, "\n".join(_lines(found)), as_json=as_json)


def give_back(run: str, *, note: str, as_json: bool) -> None:
    """Let the run go on; what was changed in the worktree is recorded first."""
    steer.send(run, wire.HAND_BACK, lambda by: Handback(by=by, note=note), as_json=as_json)


async def _safe_point(client: Client, issue: refs.Issue, wait_seconds: float) -> Place:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    told = ""
    while True:
        state = await runs.query(client, issue)
        if state.ending is not None:
            raise failures.Failed(f"{issue} ended before its safe point ({state.ending.reason}): nothing is taken over")
        found = await runs.query_round(client, issue)
        if found is not None and found.theirs:
            return place(state, found, await conversation(issue.workflow_id, found.session or state.session))
        doing = f"the agent's turn {found.turns} is not over" if found else "between two rounds"
        if doing != told:
            render.progress(f"{issue}: {doing}")
            told = doing
        if loop.time() >= deadline:
            raise failures.Failed(
                f"{issue} has no safe point yet ({doing}), the request stands: "
                f"fettle takeover {issue} asks again, --now interrupts the turn"
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def conversation(run: str, asked: agent.Session | None) -> agent.Session | None:
    """The conversation that `run` asked for, as its host knows it. A turn that was interrupted has told nothing of it
    (some CLIs name it themselves, and where it lies is the host's); its newest checkpoint has."""
    if asked is None or asked.config_dir:
        return asked
    store = artifact_store.DirectoryStore(settings.load().artifacts_dir)
    note = await turn_checkpoint.Checkpoints(store, host="").find(run, asked)
    return note.progress.session if note else asked


def place(state: State, found: implement.State, conversation: agent.Session | None) -> Place:
    """Where the work of a run that is taken over lies; `found` is its round."""
    assert found.worktree is not None  # AWAIT_HANDBACK is due only with a worktree
    return Place(
        run=str(state.issue),
        host=found.lease.host_id if found.lease else "",
        worktree=found.worktree.path,
        session=conversation.id if conversation else "",
        backend=conversation.backend if conversation else "",
        enter=_enter(conversation) if conversation and found.turns else "",
    )


def _enter(conversation: agent.Session) -> str:
    if not conversation.config_dir:
        return ""  # a command that enters somebody's own directory would be worse than none
    words, config = _ENTER.get(conversation.backend, ""), PurePosixPath(conversation.config_dir)
    given = {"config": str(config), "parent": str(config.parent), "id": conversation.id}
    return words.format(**{name: shlex.quote(text) for name, text in given.items()})


def _lines(found: Place) -> list[str]:
    lines = [f"{found.run} is yours, on host {found.host}:", f"  cd {shlex.quote(found.worktree)}"]
    if found.enter:
        lines.append(f"  {found.enter}    # the agent's own conversation")
    lines.append("Commits and uncommitted files both count; nothing is pushed before you hand it back:")
    lines.append(f"  fettle handback {found.run} --note 'what you did'")
    lines.append("Leave the directory before that: what still runs in it is ended when the agent goes on.")
    return lines
