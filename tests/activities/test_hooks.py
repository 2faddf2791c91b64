"""The repository's scripts run confined, in time, and with the failures that each of them is allowed."""

import asyncio
import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from activities import artifact_store, rooms
from activities.hooks import HookRunner
from domain import errors, hooks, redaction
from sandbox import levels, unconfined
from tests.activities.agent_host import RUN, Host, processes_in

SECRET = "correct-horse-battery"


class Place:
    def __init__(self, folder: Path) -> None:
        self.host = Host.at(folder)
        self.worktree = self.host.worktree
        self.artifacts = artifact_store.DirectoryStore(self.host.state / "artifacts")
        environment = {"PATH": os.environ["PATH"], "GITHUB_TOKEN": SECRET, "HOME": "/nowhere"}
        confinement = rooms.Confinement(environment, unconfined.Unconfined())
        self.runner = HookRunner(confinement, self.artifacts, redaction.Redactor(frozenset({SECRET})), self.host.state)

    def call(self, *, timeout: float = 20, round: int = 1, **scripts: str) -> hooks.Call:
        return hooks.Call(
            run=RUN, worktree=str(self.worktree), hooks=hooks.Hooks(timeout_seconds=timeout, **scripts), round=round,
            issue="acme/api#7", branch="fettle/issue-7", base_branch="main",
        )  # fmt: skip

    def lines(self, name: str = "said") -> list[str]:
        path = self.worktree / name
        return path.read_text().split() if path.exists() else []

    def log(self, name: str) -> str:
        return (self.host.state / "artifacts" / "runs" / RUN / name).read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_script_runs_in_the_worktree_and_is_told_what_it_is_about(place: Place) -> None:
    script = 'pwd > where; echo "$HOOK_EVENT $HOOK_ISSUE $HOOK_BRANCH $HOOK_BASE_BRANCH $HOOK_RUN [$HOOK_TURN]" > said'
    result = await place.runner.after_create(place.call(after_create=script, round=0))
    assert result == hooks.Result(ran=True)
    assert place.lines("where") == [str(place.worktree)]
    assert place.lines() == ["after_create", "acme/api#7", "fettle/issue-7", "main", RUN, "[]"]


async def test_a_script_gets_the_agents_environment_and_no_secret_of_the_worker(place: Place) -> None:
    """Hooks are text of the repository: they may know no more than the agent."""
    async with place.runner.around_turn(place.call(before_run="env > environment")):
        found = dict(line.split("=", 1) for line in (place.worktree / "environment").read_text().splitlines())
    assert SECRET not in found.values()
    assert "GITHUB_TOKEN" not in found
    assert found["HOME"] == str(rooms.Room.of(place.host.state, RUN).home)


async def test_output_is_kept_and_redacted(place: Place) -> None:
    async with place.runner.around_turn(place.call(before_run=f"echo out; echo {SECRET} >&2", round=3)):
        pass
    text = place.log("hook-before_run-3.log")
    assert text.startswith("out\n")
    assert SECRET not in text


async def test_no_script_means_no_process_and_no_artifact(place: Place) -> None:
    assert await place.runner.after_create(place.call()) == hooks.Result()
    assert await place.runner.before_remove(place.call(before_remove="  \n")) == hooks.Result()
    async with place.runner.around_turn(place.call()):
        pass
    assert not (place.host.state / "artifacts").exists()


async def test_after_create_runs_once_for_each_worktree(place: Place) -> None:
    call = place.call(after_create="echo x >> said")
    for _ in range(3):
        await place.runner.after_create(call)
    assert place.lines() == ["x"]
    os.rename(place.worktree, place.worktree.with_name("old"))
    place.worktree.mkdir()
    await place.runner.after_create(call)
    assert place.lines() == ["x"]


async def test_a_changed_after_create_runs_again(place: Place) -> None:
    await place.runner.after_create(place.call(after_create="echo x >> said"))
    await place.runner.after_create(place.call(after_create="echo y >> said"))
    assert place.lines() == ["x", "y"]


async def test_an_after_create_that_failed_runs_again_in_the_same_worktree(place: Place) -> None:
    """The worktree is kept: what is in it may be somebody's work."""
    (place.worktree / "work.txt").write_text("unsaved")
    failing = place.call(after_create="echo x >> said; test -e ready || { echo no network; exit 3; }")
    with pytest.raises(
        errors.HookFailed, match=r"after_create of acme/api#7 ended with exit code 3.*no network"
    ) as failed:
        await place.runner.after_create(failing)
    assert (failed.value.event, failed.value.exit_code) == ("after_create", 3)
    (place.worktree / "ready").touch()
    await place.runner.after_create(failing)
    await place.runner.after_create(failing)
    assert place.lines() == ["x", "x"]
    assert (place.worktree / "work.txt").read_text() == "unsaved"


async def test_before_and_after_go_around_the_turn(place: Place) -> None:
    async with place.runner.around_turn(place.call(before_run="echo before >> said", after_run="echo after >> said")):
        assert place.lines() == ["before"]
    assert place.lines() == ["before", "after"]


async def test_a_before_run_that_fails_ends_the_turn_before_it_begins(place: Place) -> None:
    began = False
    with pytest.raises(errors.HookFailed, match="before_run"):
        async with place.runner.around_turn(place.call(before_run="exit 1", after_run="echo after >> said")):
            began = True
    assert not began
    assert place.lines() == []


async def test_after_run_follows_a_turn_that_fails_and_its_own_failure_is_ignored(place: Place) -> None:
    with pytest.raises(errors.AgentCrashed):
        async with place.runner.around_turn(place.call(after_run="echo after >> said; exit 9")):
            raise errors.AgentCrashed("it is gone")
    assert place.lines() == ["after"]
    async with place.runner.around_turn(place.call(after_run="exit 9")):
        pass
    assert place.log("hook-after_run-1.log") == ""


async def test_before_remove_never_fails(place: Place) -> None:
    result = await place.runner.before_remove(place.call(before_remove="exit 4"))
    assert (result.ran, result.ok) == (True, False)
    assert "exit code 4" in result.sentence
    gone = place.call(before_remove="true").model_copy(update={"worktree": str(place.worktree / "gone")})
    assert not (await place.runner.before_remove(gone)).ok


async def wait_for(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - a file that another process writes has no event
            await asyncio.sleep(0.02)


STUBBORN = "trap '' TERM; (trap '' TERM; setsid sleep 300) & echo x > said; sleep 300"


async def test_a_script_that_takes_too_long_is_ended_with_all_it_started(place: Place) -> None:
    began = time.monotonic()
    with pytest.raises(errors.HookFailed, match=r"took longer than 1 s and was ended") as failed:
        async with place.runner.around_turn(place.call(before_run=STUBBORN, timeout=1)):
            pass
    assert failed.value.exit_code is None
    assert time.monotonic() - began < 20  # of the 300 that it would take
    assert processes_in(place.worktree) == []


async def test_a_cancelled_hook_leaves_nothing_running(place: Place) -> None:
    async def turn() -> None:
        async with place.runner.around_turn(place.call(before_run=STUBBORN, timeout=300)):
            pass

    task = asyncio.create_task(turn())
    await wait_for(lambda: place.lines() == ["x"])
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert processes_in(place.worktree) == []


async def test_after_run_of_a_cancelled_turn_is_short(place: Place) -> None:
    """A cancel is to be over within seconds, whatever the repository's script does."""
    started = asyncio.Event()

    async def turn() -> None:
        async with place.runner.around_turn(place.call(after_run="echo x > said; sleep 300", timeout=300)):
            started.set()
            await asyncio.sleep(300)

    task = asyncio.create_task(turn())
    await started.wait()
    began = time.monotonic()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert place.lines() == ["x"]
    assert time.monotonic() - began < 20  # of the 300 that it would take
    assert processes_in(place.worktree) == []


async def test_a_worktree_outside_of_the_hosts_state_is_refused(place: Place, tmp_path: Path) -> None:
    elsewhere = place.call(before_run="echo x > said").model_copy(update={"worktree": str(tmp_path)})
    with pytest.raises(errors.ConfigurationError, match="the worktrees of this host are below"):
        async with place.runner.around_turn(elsewhere):
            pass
    assert not (tmp_path / "said").exists()


async def test_a_script_runs_behind_the_same_walls_as_the_agent(tmp_path: Path) -> None:
    """Whoever may push to the base branch writes the script: the host is not theirs."""
    place = Place(tmp_path)
    level = await levels.ready(levels.Config(state=place.host.state, host=dict(os.environ)))
    if level.why_not:
        pytest.skip(f"bubblewrap does not work here, hooks were NOT tested in it: {level.why_not}")
    (place.host.state / "leases.json").write_text("{}")
    (place.host.state / "agents" / "other").mkdir(parents=True)
    confined = dataclasses.replace(place.runner, confinement=rooms.Confinement({"PATH": os.environ["PATH"]}, level))
    state = place.host.state
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = f"""
            exec > said
            echo x > {state}/leases.json
            ls {state}/agents/other || echo others-hidden
            bash -c 'exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}' || echo no-network
            echo y > mine && echo worktree-writable
        """
        await confined.after_create(place.call(after_create=script, round=0))
    assert place.lines() == ["others-hidden", "no-network", "worktree-writable"]
    assert (state / "leases.json").read_text() == "{}"
