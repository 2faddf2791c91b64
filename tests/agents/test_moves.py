"""The real CLIs continue a conversation on another host, whose disk knows nothing of it."""

import asyncio
import dataclasses
import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity

from activities import artifact_store, turn_checkpoint
from domain import agent
from tests.activities.agent_host import RUN, Host
from tests.activities.test_agent_turn import Environment
from tests.agents.model_server import Stall, say
from tests.agents.stage import Stage


def _activities(stage: Stage, folder: Path, name: str) -> Any:
    store = artifact_store.DirectoryStore(folder / "artifacts")
    kept = turn_checkpoint.Checkpoints(store, name)
    return dataclasses.replace(stage.activities(), artifacts=store, checkpoints=kept, checkpoint_seconds=0.2)


def _elsewhere(stage: Stage, folder: Path) -> Stage:
    return dataclasses.replace(stage, host=Host.at(folder / "another-disk"))


async def _kept(store: artifact_store.DirectoryStore, session: agent.Session) -> str:
    """The conversation as another host would find it; empty while none is kept."""
    note = await turn_checkpoint.Checkpoints(store, "b").find(RUN, session)
    if note is None or note.progress.session.archive is None:
        return ""
    with suppress(FileNotFoundError):  # a newer one is taking its place
        return gzip.decompress(await store.read(note.progress.session.archive.key)).decode(errors="replace")
    return ""


async def test_the_next_turn_on_another_host_continues_the_conversation(stage: Stage, tmp_path: Path) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), say("First."), say("Second."))
    first = await Environment().run(_activities(stage, tmp_path, "a").run_agent, stage.request("Make a.txt."))
    there = _elsewhere(stage, tmp_path)
    second = await Environment().run(_activities(there, tmp_path, "b").run_agent, there.after(first, "And now?"))
    assert (second.outcome, second.summary) == (agent.Outcome.FINISHED, "Second.")
    assert second.session.id == first.session.id
    assert not second.resumed_after_loss
    last = stage.model.requests[-1].text
    assert "Make a.txt." in last
    assert "And now?" in last
    there.quiet(3)


async def test_a_turn_that_was_lost_in_its_middle_goes_on_elsewhere_without_asking_again(
    stage: Stage, tmp_path: Path
) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), Stall(), say("Continued."))
    request, environment = stage.request("Make a.txt."), Environment()
    running = asyncio.create_task(environment.run(_activities(stage, tmp_path, "a").run_agent, request))
    await stage.model.asked(2)
    store = artifact_store.DirectoryStore(tmp_path / "artifacts")
    async with asyncio.timeout(20):
        while "made" not in await _kept(store, request.session):  # noqa: ASYNC110 - a file, made by another task
            await asyncio.sleep(0.05)
    environment.cancel(activity.ActivityCancellationDetails(timed_out=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    there = _elsewhere(stage, tmp_path)
    note = await turn_checkpoint.Checkpoints(store, "b").find(RUN, request.session)
    assert note is not None
    again = there.request("Make a.txt.", session=request.session, resume=True, round=2)
    result = await Environment().run(_activities(there, tmp_path, "b").run_agent, again)
    assert (result.outcome, result.summary, result.resumed_after_loss) == (
        agent.Outcome.FINISHED,
        "Continued.",
        True,
    )
    assert result.session.id == note.progress.session.id
    last = stage.model.requests[-1].text
    assert "a.txt" in last
    assert "on another machine" in last
    there.quiet(3)
