"""When a turn is kept, and that keeping it often takes neither time nor room."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities import artifact_store, turn_checkpoint, turn_keeping, turn_sessions, turn_wip
from domain import agent, artifacts, redaction
from integrations.agent import scripted
from tests.activities.test_agent_turn import Environment, file_at
from tests.activities.test_turn_checkpoint import PARTITION, noted, remembered
from tests.activities.two_hosts import SESSION, Host
from tests.integrations.git.lab import RUN, Lab

DEFAULT = 60.0
NOTE = "checkpoint.json"


@dataclass(frozen=True)
class Store(artifact_store.DirectoryStore):
    """Counts what is written; its host dies whenever it is about to write one of `fatal`."""

    written: list[str] = field(default_factory=list)
    fatal: set[str] = field(default_factory=set)

    async def put(self, key: str, data: bytes, summary: str = "") -> artifacts.ArtifactRef:
        if key.rpartition("/")[2] in self.fatal:
            raise OSError("the host is dead")
        self.written.append(key)
        return await super().put(key, data, summary)

    def archives(self, turn: int) -> list[str]:
        return self.keys(f"runs/{RUN}/session-turn-{turn}")


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Host, Host]:
    lab = Lab(tmp_path)
    return Host(lab, "a"), Host(lab, "b")


@pytest.fixture
def store(hosts: tuple[Host, Host]) -> Store:
    return Store(hosts[0].lab.root / "artifacts")


def checkpoints(host: Host, store: Store) -> turn_checkpoint.Checkpoints:
    pushing = turn_wip.WorkInProgress(host.lab.forge, host.mirrors, redaction.Redactor(frozenset()))  # type: ignore[arg-type]  # see Lab
    return turn_checkpoint.Checkpoints(store, host.name, pushing)


def write(number: int) -> list[dict[str, Any]]:
    return [{"write": {"path": f"{number}.txt", "content": f"{number}\n"}}]


def wait_for(name: str) -> list[dict[str, Any]]:
    return [{"wait_for_file": {"path": f"../{name}", "seconds": 30}}]


def hour(took: float, busy: float) -> tuple[int, float]:
    """The checkpoints of an hour in which an answer follows the other, and its seconds."""
    pace, now, count = turn_keeping.Pace(DEFAULT, now=0), 0.0, 0
    while now < 3600:
        pace.news(now)
        now = pace.due
        pace.begin(now, count * busy)
        now, count = now + took, count + 1
        pace.end(now, count * busy)
    return count, now


def test_an_answer_is_kept_when_it_has_settled() -> None:
    pace = turn_keeping.Pace(DEFAULT, now=0)
    pace.news(10)
    assert pace.due == 10 + turn_keeping.SETTLE_SECONDS


def test_answers_that_follow_do_not_put_a_checkpoint_off() -> None:
    pace = turn_keeping.Pace(DEFAULT, now=0)
    for tenth in range(100, 110):
        pace.news(tenth / 10)
    assert pace.due == 10 + turn_keeping.SETTLE_SECONDS


@pytest.mark.parametrize(("took", "busy"), [(0.1, 0.08), (1.0, 1.0), (3.0, 3.0)])
def test_checkpoints_compute_a_twentieth_of_a_turn_that_never_rests(took: float, busy: float) -> None:
    count, seconds = hour(took, busy)
    assert count * busy <= 0.05 * seconds + busy
    assert count >= seconds / max(turn_keeping.FLOOR_SECONDS + took, 20 * busy) - 1


@pytest.mark.parametrize("took", [0.01, 0.5, 2.0, 10.0])
def test_a_forge_that_is_waited_for_has_a_fifth_of_the_time_and_a_push_each_two_seconds_at_most(took: float) -> None:
    count, seconds = hour(took, busy=0.0)
    assert count * took <= seconds / 5 + took
    assert count <= seconds / turn_keeping.FLOOR_SECONDS + 1
    assert count >= seconds / max(turn_keeping.FLOOR_SECONDS + took, 5 * took) - 1


def test_what_others_computed_meanwhile_counts_for_no_more_than_one_processor() -> None:
    pace = turn_keeping.Pace(DEFAULT, now=0)
    pace.begin(10, 0)
    pace.end(10.2, 500)
    pace.news(10.3)
    assert pace.due == pytest.approx(10.2 + 19 * 0.2)


def test_a_checkpoint_that_takes_long_does_not_put_the_next_one_off_for_longer_than_the_limit() -> None:
    pace = turn_keeping.Pace(DEFAULT, now=0)
    pace.begin(10, 0)
    pace.end(40, 30)
    pace.news(41)
    assert pace.due == 40 + DEFAULT


def test_an_answer_that_comes_during_a_checkpoint_is_for_the_next_one() -> None:
    pace = turn_keeping.Pace(DEFAULT, now=0)
    pace.news(10)
    pace.begin(11, 0)
    pace.news(11.05)
    pace.end(11.1, 0.05)
    assert pace.due == 11.1 + turn_keeping.FLOOR_SECONDS


def test_without_an_answer_one_looks_as_often_as_the_limit_says() -> None:
    pace = turn_keeping.Pace(DEFAULT, now=0)
    assert pace.due == DEFAULT
    pace.looked(DEFAULT)
    assert pace.due == 2 * DEFAULT
    pace.news(DEFAULT + 10)
    assert pace.due == DEFAULT + 10 + turn_keeping.SETTLE_SECONDS


async def test_an_answer_is_kept_within_seconds_although_the_limit_is_a_minute(
    hosts: tuple[Host, Host], store: Store
) -> None:
    one, _ = hosts
    one.play([*write(1), *wait_for("go"), {"say": "done"}])
    await one.prepare()
    activities = one.activities(checkpoints=checkpoints(one, store), checkpoint_seconds=DEFAULT)
    running = asyncio.create_task(Environment().run(activities.run_agent, one.request()))
    await file_at(one.worktree / "1.txt")
    began = time.monotonic()
    await noted(one, lambda note: remembered(one, note) == 1 and bool(note.progress.wip_sha))
    assert time.monotonic() - began < DEFAULT / 3
    (one.worktree.parent / "go").touch()
    await running


async def test_what_a_silent_command_writes_is_kept_within_the_limit(hosts: tuple[Host, Host], store: Store) -> None:
    one, _ = hosts
    waiting = "while [ ! -e ../{0} ]; do sleep 0.05; done"
    command = f"{waiting.format('first')}; echo made > by-command.txt; {waiting.format('go')}"
    one.play([{"run": {"command": command}}, {"say": "done"}])
    await one.prepare()
    activities = one.activities(checkpoints=checkpoints(one, store), checkpoint_seconds=0.5)
    running = asyncio.create_task(Environment().run(activities.run_agent, one.request()))
    before = (await noted(one, lambda note: bool(note.progress.tool))).progress.wip_sha
    (one.worktree.parent / "first").touch()
    await noted(one, lambda note: note.progress.wip_sha != before and bool(note.progress.tool))
    (one.worktree.parent / "go").touch()
    await running


async def test_a_turn_of_many_checkpoints_leaves_one_archive(hosts: tuple[Host, Host], store: Store) -> None:
    """What a killed worker of this host had no time to name goes as well; another host's is not ours to remove."""
    one, _ = hosts
    one.play([step for number in range(4) for step in (*write(number), *wait_for(f"go-{number}"))])
    await one.prepare()
    own = await checkpoints(one, store).put_archive(RUN, 1, b"never named", "")
    other = await turn_checkpoint.Checkpoints(store, "b").put_archive(RUN, 1, b"of another host", "")
    activities = one.activities(checkpoints=checkpoints(one, store))
    running = asyncio.create_task(Environment().run(activities.run_agent, one.request()))

    async def kept(steps: int) -> None:
        await noted(one, lambda note: remembered(one, note) == steps)

    for number in range(4):
        await kept(2 * number + 1)
        (one.worktree.parent / f"go-{number}").touch()
    result = await running
    made = {key for key in store.written if "/session-turn-1/a@" in key} - {own.key}
    assert len(made) >= 4
    assert result.session.archive is not None
    assert store.archives(1) == sorted([result.session.archive.key, other.key])
    second = await Environment().run(activities.run_agent, one.request(2, resume=True))
    assert second.session.archive is not None
    assert result.session.archive.key in store.archives(1)  # each turn's last one stays
    assert store.archives(2) == [second.session.archive.key]


async def test_a_host_that_dies_between_the_archive_and_its_note_leaves_the_conversation_before_it(
    hosts: tuple[Host, Host], store: Store
) -> None:
    one, two = hosts
    one.play([*write(1), *wait_for("go"), *write(2), *wait_for("on"), *write(3)])
    await one.prepare()
    environment = Environment()
    activities = one.activities(checkpoints=checkpoints(one, store))
    running = asyncio.create_task(environment.run(activities.run_agent, one.request()))
    await noted(one, lambda note: remembered(one, note) == 1)
    store.fatal.add(NOTE)
    (one.worktree.parent / "go").touch()
    async with asyncio.timeout(20):
        while len(store.archives(1)) < 2:  # noqa: ASYNC110 - files
            await asyncio.sleep(0.05)
    environment.cancel(PARTITION)
    with pytest.raises(asyncio.CancelledError):
        await running
    store.fatal.clear()
    await two.prepare()
    for name in ("go", "on"):
        (two.worktree.parent / name).touch()
    activities = two.activities(checkpoints=checkpoints(two, store))
    result = await Environment().run(activities.run_agent, two.request(2, resume=True))
    assert (result.outcome, result.resumed_after_loss) == (agent.Outcome.FINISHED, True)
    assert [event["resumed"] for event in two.events(2) if event["type"] == "session"] == [True]
    assert [event["path"] for event in two.events(2) if event["type"] == "tool"] == ["2.txt", "3.txt"]
    assert (two.worktree / "1.txt").read_text() == "1\n"


async def test_without_a_change_nothing_is_written_and_nothing_is_pushed(
    hosts: tuple[Host, Host], store: Store
) -> None:
    one, _ = hosts
    await one.prepare()
    hook = one.lab.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho push >> '{one.lab.root}/pushes'\n")
    hook.chmod(0o755)
    home = one.lab.root / "home"
    backend = scripted.ScriptedBackend()
    conversation = backend.config_dir(home) / f"{SESSION.id}.json"
    conversation.parent.mkdir(parents=True)
    keeper = turn_checkpoint.Keeper(
        checkpoints(one, store), backend, one.request(), home, one.worktree, datetime.now(UTC)
    )
    progress = agent.Progress(session=SESSION)

    async def kept() -> tuple[list[str], int]:
        await keeper.keep(progress, finished=False, seconds=30)
        pushes = one.lab.root / "pushes"
        return list(store.written), len(pushes.read_text().splitlines()) if pushes.exists() else 0

    conversation.write_text("one")
    (one.worktree / "work").write_text("one")
    written, pushes = await kept()
    assert (len(written), pushes) == (2, 1)
    progress.log_offset += 100  # it printed something that nobody needs
    assert await kept() == (written, pushes)
    assert not await keeper.has_news(SESSION)
    (one.worktree / "work").write_text("two")
    assert await kept() == ([*written, f"runs/{RUN}/{NOTE}"], pushes + 1)


async def test_a_heartbeat_that_names_an_archive_which_was_replaced_leads_to_the_newest(
    hosts: tuple[Host, Host], store: Store
) -> None:
    one, _ = hosts
    kept, home = turn_checkpoint.Checkpoints(store, "a"), one.lab.root / "home"
    home.mkdir()
    refs = []
    for word in ("old", "new"):
        (home / "talk").write_text(word)
        refs.append(await kept.put_archive(RUN, 1, turn_sessions.pack(home, [home / "talk"]), ""))
    stale, newest = (SESSION.model_copy(update={"archive": ref}) for ref in refs)
    now = datetime.now(UTC)
    await kept.write(RUN, turn_checkpoint.Note(host="a", turn=1, progress=agent.Progress(session=newest), at=now))
    await kept.drop_archives(RUN, 1, refs[1])
    (home / "talk").unlink()
    assert await kept.restore(RUN, stale, home, one.lab.root)
    assert (home / "talk").read_text() == "new"
    other = stale.model_copy(update={"id": "00000000-0000-0000-0000-000000000000"})
    assert not await kept.restore(RUN, other, home, one.lab.root)
