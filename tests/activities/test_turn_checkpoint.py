"""A turn goes on where another host finds it: the same conversation, the same work, each step once."""

import asyncio
import dataclasses
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import artifact_store, rooms, turn_checkpoint, turn_prompts
from domain import agent, errors
from integrations import prompts
from integrations.git import names
from tests.activities.agent_host import processes_in
from tests.activities.test_agent_turn import Environment, file_at
from tests.activities.two_hosts import SESSION, Host
from tests.integrations.git.lab import RUN, Lab, git

WAIT: dict[str, Any] = {"wait_for_file": {"path": "../go", "seconds": 30}}
STEPS: list[dict[str, Any]] = [
    {"append": {"path": "log", "content": "one\n"}},
    {"cost": 0.25},
    {"commit": {"message": "One"}},
    {"append": {"path": "log", "content": "two\n"}},
    {"say": "in the middle"},
    WAIT,
    {"append": {"path": "log", "content": "three\n"}},
    {"commit": {"message": "Three"}},
]
MIDDLE = 5
"""Steps before the wait."""
PARTITION = activity.ActivityCancellationDetails(timed_out=True)


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Host, Host]:
    lab = Lab(tmp_path)
    return Host(lab, "a"), Host(lab, "b")


async def noted(host: Host, wanted: Callable[[turn_checkpoint.Note], bool]) -> turn_checkpoint.Note:
    """Wait for a checkpoint; it is written by another task, to a file."""
    async with asyncio.timeout(30):
        while (note := host.note()) is None or not wanted(note):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)
        return note


async def lost_in_the_middle(host: Host, **more: Any) -> None:
    """Play until the middle was kept, then take the host away without a chance to keep anything more."""
    await host.prepare()
    environment = Environment()
    running = asyncio.create_task(environment.run(host.activities(**more).run_agent, host.request()))
    await file_at(host.worktree / "log")
    await noted(host, lambda note: remembered(host, note) == MIDDLE and shown(host, note) == "one\ntwo")
    environment.cancel(PARTITION)
    with pytest.raises(asyncio.CancelledError):
        await running


def remembered(host: Host, note: turn_checkpoint.Note) -> int:
    """Steps that the kept conversation knows to be done."""
    archive = note.progress.session.archive
    if archive is None:
        return 0
    with tarfile.open(host.lab.root / "artifacts" / archive.key) as packed:
        file = packed.extractfile(packed.getmembers()[0])
        assert file is not None
        return int(json.loads(file.read())["turns"][-1]["done"])


def shown(host: Host, note: turn_checkpoint.Note) -> str:
    """The file as the kept work has it."""
    return git(host.lab.bare, "show", f"{note.progress.wip_sha}:log", check=False) if note.progress.wip_sha else ""


async def test_another_host_continues_the_conversation_and_the_work(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    one.play(STEPS, [{"say": "another turn"}])
    await lost_in_the_middle(one)
    made = await two.prepare()
    assert made.resumed_from_wip
    (two.worktree.parent / "go").touch()
    result = await Environment().run(two.activities().run_agent, two.request(2, resume=True))
    assert (result.outcome, result.session.id, result.resumed_after_loss) == (
        agent.Outcome.FINISHED,
        SESSION.id,
        True,
    )
    assert (two.worktree / "log").read_text() == "one\ntwo\nthree\n"
    assert git(two.worktree, "log", "--format=%s").splitlines()[:2] == ["Three", "One"]
    assert (result.cost_usd, result.turn_cost_usd) == (0.25, 0.0)
    assert [event["resumed"] for event in two.events(2) if event["type"] == "session"] == [True]
    assert result.session.archive is not None
    assert "/session-turn-2/b@" in result.session.archive.key
    assert result.wip_sha == git(two.lab.bare, "rev-parse", names.wip_ref(RUN))
    assert result.wip_note == ""


async def test_the_continued_agent_is_told_that_it_is_elsewhere(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hosts
    one.play(STEPS)
    await lost_in_the_middle(one)
    await two.prepare()
    (two.worktree.parent / "go").touch()
    asked: list[str] = []
    words = turn_prompts.Words.resumed

    def remember(self: turn_prompts.Words, *given: Any) -> str:
        asked.append(words(self, *given))
        return asked[-1]

    monkeypatch.setattr(turn_prompts.Words, "resumed", remember)
    await Environment().run(two.activities().run_agent, two.request(2, resume=True))
    [prompt] = asked
    assert "on another machine" in prompt
    assert "One" in prompt
    assert " M log" in prompt


async def test_the_host_that_comes_back_ends_its_agent_and_keeps_nothing(hosts: tuple[Host, Host]) -> None:
    """It has heard nothing of its loss: its agent is in the middle of the turn, and goes on."""
    one, two = hosts
    one.play([STEPS[0], WAIT, {"append": {"path": "log", "content": "late\n"}}, {"say": "late"}, {"hang": {}}])
    await one.prepare()
    environment = Environment()
    running = asyncio.create_task(environment.run(one.activities().run_agent, one.request()))
    await noted(one, lambda note: shown(one, note) == "one")
    await two.prepare()
    taken = git(two.lab.bare, "rev-parse", names.wip_ref(RUN))
    (one.worktree.parent / "go").touch()
    with pytest.raises(errors.LeaseLost, match="another host has taken the run over"):
        await running
    assert processes_in(one.worktree) == []
    assert git(two.lab.bare, "rev-parse", names.wip_ref(RUN)) == taken
    assert (two.worktree / "log").read_text() == "one\n"


async def test_a_turn_that_had_ended_when_its_host_was_lost_is_not_told_as_interrupted(
    hosts: tuple[Host, Host],
) -> None:
    one, two = hosts
    one.play([STEPS[0], {"cost": 0.5}], [{"append": {"path": "log", "content": "next\n"}}, {"cost": 0.25}])
    await one.prepare()
    await Environment().run(one.activities().run_agent, one.request())
    await two.prepare()
    result = await Environment().run(two.activities().run_agent, two.request(2, resume=True))
    assert (result.resumed_after_loss, result.cost_usd, result.turn_cost_usd) == (False, 0.75, 0.25)
    assert (two.worktree / "log").read_text() == "one\nnext\n"


async def test_a_run_that_comes_back_takes_the_newer_conversation(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    one.play(*([{"append": {"path": "log", "content": f"{word}\n"}}] for word in ("one", "two", "three")))
    for turn, host in ((1, one), (2, two), (3, one)):
        await host.prepare()
        await Environment().run(host.activities().run_agent, host.request(turn, resume=turn > 1))
    assert (one.worktree / "log").read_text() == "one\ntwo\nthree\n"


async def test_a_run_that_begins_anew_elsewhere_is_not_overtaken_by_the_one_before(hosts: tuple[Host, Host]) -> None:
    """It counts its turns from 1 again, and the newest checkpoint is of a later turn of the run that has ended."""
    before, now = hosts
    now.play([STEPS[0]], [STEPS[3]])
    for turn in (1, 2):
        await before.prepare()
        await Environment().run(before.activities().run_agent, before.request(turn, resume=turn > 1))
    await now.prepare()
    session = agent.Session(backend="scripted", id="99999999-2222-3333-4444-555555555555")
    environment = Environment()
    environment.info = dataclasses.replace(environment.info, scheduled_time=datetime.now(UTC))
    result = await environment.run(now.activities().run_agent, now.request(1, session=session))
    assert result.outcome is agent.Outcome.FINISHED
    note = now.note()
    assert note is not None
    assert (note.host, note.turn, note.progress.session.id) == ("b", 1, session.id)


async def test_the_conversation_alone_is_kept_where_the_forge_takes_no_work(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    hook = one.lab.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase "$1" in refs/heads/*) ;; *) exit 1 ;; esac\n')
    hook.chmod(0o755)
    one.play([STEPS[0]], [{"say": "second"}])
    await one.prepare()
    result = await Environment().run(one.activities().run_agent, one.request())
    assert (result.wip_sha, result.wip_note != "") == ("", True)
    await two.prepare()
    result = await Environment().run(two.activities().run_agent, two.request(2, resume=True))
    assert result.summary == "second"


async def test_a_lost_archive_is_a_fresh_start_with_a_factual_summary(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hosts
    one.play(STEPS)
    await lost_in_the_middle(one)
    [archive] = (one.lab.root / "artifacts" / "runs" / RUN / "session-turn-1").iterdir()
    archive.write_bytes(b"damaged")
    await two.prepare()
    (two.worktree.parent / "go").touch()
    asked: list[str] = []
    words = turn_prompts.Words.restarted

    def remember(self: turn_prompts.Words, *given: Any) -> str:
        asked.append(words(self, *given))
        return asked[-1]

    monkeypatch.setattr(turn_prompts.Words, "restarted", remember)
    result = await Environment().run(two.activities().run_agent, two.request(2, resume=True))
    assert (result.outcome, result.resumed_after_loss) == (agent.Outcome.FINISHED, False)
    [prompt] = asked
    assert "this is a new one" in prompt
    assert " M log" in prompt
    assert "append" in prompt  # its last calls
    assert "do it" in prompt


async def test_a_session_that_the_cli_refuses_to_resume_is_begun_anew_once(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = hosts
    one.play([{"append": {"path": "log", "content": "once\n"}}, {"say": "fresh"}])
    await one.prepare()
    activities = one.activities()
    backend = type(activities.backends["scripted"])
    known = backend.transcript

    def transcript(self: Any, home: Path, session: agent.Session) -> Path | None:
        """A file is there, the CLI does not find the conversation in it."""
        return home if session.id == SESSION.id else known(self, home, session)

    monkeypatch.setattr(backend, "transcript", transcript)
    result = await Environment().run(activities.run_agent, one.request(2, resume=True))
    assert (result.outcome, result.summary, result.resumed_after_loss) == (agent.Outcome.FINISHED, "fresh", False)
    assert result.session.id not in {"", SESSION.id}
    assert (one.worktree / "log").read_text() == "once\n"
    assert [event["resumed"] for event in one.events(2) if event["type"] == "session"] == [False]


async def test_a_conversation_that_is_begun_anew_counts_its_cost_anew(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger knows totals by conversation: the new one's has nothing of the old one in it, and nothing is lost."""
    one, _ = hosts
    one.play([{"cost": 0.5}], [{"cost": 0.25}])  # a new conversation plays the first turn
    await one.prepare()
    activities = one.activities()
    first = await Environment().run(activities.run_agent, one.request())
    assert (first.cost_usd, first.turn_cost_usd) == (0.5, 0.5)
    backend = type(activities.backends["scripted"])
    known = backend.transcript
    old = known(activities.backends["scripted"], rooms.Room.of(one.state, RUN).home, SESSION)
    assert old is not None
    old.unlink()

    def transcript(self: Any, home: Path, session: agent.Session) -> Path | None:
        return home if session.id == SESSION.id else known(self, home, session)

    monkeypatch.setattr(backend, "transcript", transcript)
    second = await Environment().run(activities.run_agent, one.request(2, resume=True))
    assert second.session.id != SESSION.id
    assert (second.cost_usd, second.turn_cost_usd) == (0.5, 0.5)
    third = await Environment().run(activities.run_agent, one.request(3, resume=True, session=second.session))
    assert third.session.id == second.session.id
    assert (third.cost_usd, third.turn_cost_usd) == (0.75, 0.25)


@pytest.mark.parametrize("how", ["worker_shutdown", "paused", "drain"])
async def test_an_interrupted_turn_is_kept_before_the_worker_ends(hosts: tuple[Host, Host], how: str) -> None:
    one, two = hosts
    one.play(STEPS)
    await one.prepare()
    environment = Environment()
    activities = one.activities(checkpoint_seconds=600)
    running = asyncio.create_task(environment.run(activities.run_agent, one.request()))
    await environment.beat_where(lambda beat: beat.cost_usd == 0.25)
    await file_with(one.worktree / "log", "one\ntwo\n")
    if how == "drain":
        environment.worker_shutdown()
    else:
        environment.cancel(activity.ActivityCancellationDetails(**{how: True}))
    with pytest.raises((asyncio.CancelledError, ApplicationError)):
        await running
    assert processes_in(one.worktree) == []
    await two.prepare()
    (two.worktree.parent / "go").touch()
    result = await Environment().run(two.activities().run_agent, two.request(2, resume=True))
    assert result.resumed_after_loss
    assert (two.worktree / "log").read_text() == "one\ntwo\nthree\n"


async def file_with(path: Path, text: str) -> None:
    """Written by another process, which sends no event."""
    async with asyncio.timeout(20):
        while not path.exists() or path.read_text() != text:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)


async def test_a_worker_that_drains_lets_the_turn_end(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    one.play([STEPS[0], WAIT, {"say": "done in time"}])
    await one.prepare()
    environment = Environment()
    running = asyncio.create_task(environment.run(one.activities(drain_seconds=20).run_agent, one.request()))
    await file_at(one.worktree / "log")
    environment.worker_shutdown()
    await asyncio.sleep(0.2)  # what would interrupt it has had its chance
    assert not running.done()
    (one.worktree.parent / "go").touch()
    assert (await running).summary == "done in time"


async def test_a_worker_that_drains_interrupts_a_turn_that_takes_too_long(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    one.play([STEPS[0], {"hang": {}}])
    await one.prepare()
    environment = Environment()
    running = asyncio.create_task(environment.run(one.activities(drain_seconds=0.5).run_agent, one.request()))
    await file_at(one.worktree / "log")
    environment.worker_shutdown()
    with pytest.raises(ApplicationError, match="the next attempt resumes it"):
        await running
    note = one.note()
    assert note is not None
    assert shown(one, note) == "one"


async def test_a_heartbeat_names_the_call_in_flight_and_the_work_that_was_kept(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    one.play([STEPS[0], {"run": {"command": "while [ ! -e ../go ]; do sleep 0.05; done"}}, {"say": "done"}])
    await one.prepare()
    environment = Environment()
    running = asyncio.create_task(environment.run(one.activities().run_agent, one.request()))
    beat = await environment.beat_where(lambda each: each.tool != "")
    assert beat.tool == "run"
    kept = await environment.beat_where(lambda each: each.wip_sha != "")
    assert len(kept.wip_sha) == 40
    (one.worktree.parent / "go").touch()
    await running
    assert environment.beats[-1].tool == ""


async def test_a_resumed_agent_is_told_which_call_had_no_answer(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = hosts
    one.play([{"run": {"command": "touch begun; while [ ! -e ../go ]; do sleep 0.05; done"}}, {"say": "done"}])
    await one.prepare()
    first, activities = Environment(), one.activities()
    running = asyncio.create_task(first.run(activities.run_agent, one.request()))
    await first.beat_where(lambda each: each.tool == "run")
    first.cancel(activity.ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    asked: list[str] = []
    words = turn_prompts.Words.resumed

    def remember(self: turn_prompts.Words, *given: Any) -> str:
        asked.append(words(self, *given))
        return asked[-1]

    monkeypatch.setattr(turn_prompts.Words, "resumed", remember)
    (one.worktree.parent / "go").touch()
    await Environment(first.beats[-1], attempt=2).run(activities.run_agent, one.request())
    [prompt] = asked
    assert "Calls that had no answer when you were interrupted" in prompt
    assert "\nrun\n" in prompt
    assert "same clone" in prompt


async def test_a_note_of_another_release_or_run_is_no_checkpoint(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    one.play([{"say": "first"}], [{"say": "second"}])
    await one.prepare()
    await Environment().run(one.activities().run_agent, one.request())
    store = artifact_store.DirectoryStore(one.lab.root / "artifacts")
    other = turn_checkpoint.Checkpoints(store, "c")
    assert await other.find(RUN, SESSION) is not None
    assert await other.find(RUN, SESSION.model_copy(update={"id": "another"})) is None
    assert await turn_checkpoint.Checkpoints(store, "a").find(RUN, SESSION) is None
    (one.lab.root / "artifacts" / "runs" / RUN / "checkpoint.json").write_text('{"host": 1}')
    assert await other.find(RUN, SESSION) is None
    assert prompts.Library().front_matter("restart").version == 1
    assert two.name == "b"
