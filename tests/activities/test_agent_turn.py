import asyncio
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import rooms
from domain import agent, errors
from domain.brief import Brief
from sandbox import proc
from tests.activities.agent_host import Host, processes_in

WAIT: dict[str, Any] = {"wait_for_file": {"path": "go", "seconds": 30}}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host.at(tmp_path)


class Environment(ActivityEnvironment):
    """Collects heartbeats, and lets a test wait for one."""

    def __init__(self, *details: agent.Progress, attempt: int = 1) -> None:
        super().__init__()
        self.beats: list[agent.Progress] = []
        self._changed = asyncio.Event()
        self.info = dataclasses.replace(
            self.info,
            heartbeat_timeout=timedelta(seconds=1),
            heartbeat_details=[each.model_dump(mode="json") for each in details],
            attempt=attempt,
        )
        self.on_heartbeat = self._beat

    def _beat(self, *details: Any) -> None:
        self.beats.append(details[0])
        self._changed.set()

    async def beat_where(self, predicate: Callable[[agent.Progress], bool]) -> agent.Progress:
        async with asyncio.timeout(20):
            while not any(predicate(beat) for beat in self.beats):
                self._changed.clear()
                await self._changed.wait()
        return next(beat for beat in self.beats if predicate(beat))


async def file_at(path: Path) -> None:
    """Another process makes the file; it sends no event that we could await."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)


async def at_rest(host: Host, request: agent.TurnRequest, steps: int) -> None:
    """Until so many steps are done: a kill in the middle of git's own work would leave its lock behind."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(host.done, request) != steps:  # noqa: ASYNC110 - another process, as above
            await asyncio.sleep(0.02)


async def test_a_turn_leaves_its_work_a_result_and_a_transcript(host: Host) -> None:
    host.play(
        [
            {"say": "working"},
            {"edit": {"path": "README.md", "old": "hello", "new": "hello, world"}},
            {"cost": 0.25},
            {"commit": {"message": "Greet the world"}},
            {"say": "done; the key is correct-horse-battery"},
        ]
    )
    environment, request = Environment(), host.request()
    result = await environment.run(host.activities().run_agent, request)
    assert result.outcome is agent.Outcome.FINISHED
    assert result.summary == "done; the key is [redacted:known-secret]"
    assert (result.cost_usd, result.turn_cost_usd) == (0.25, 0.25)
    assert result.session.id == request.session.id
    assert not result.resumed_after_loss
    assert host.commits() == ["Greet the world", "begin"]
    assert all(line["scripted"] is True for line in host.transcript())
    assert result.transcript is not None
    assert result.transcript.key == "runs/issue/acme/api/7/turn-1.jsonl"
    assert (host.state / "artifacts/runs/issue/acme/api/7/turn-1.agent").read_text() == "scripted"
    assert result.transcript.size == environment.beats[-1].log_offset
    assert processes_in(host.worktree) == []


async def test_the_first_heartbeat_after_the_start_names_the_session(host: Host) -> None:
    host.play([{"hang": {}}])
    environment, request = Environment(), host.request()
    running = asyncio.create_task(environment.run(host.activities().run_agent, request))
    beat = await environment.beat_where(lambda each: each.launched)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert beat.session.id == request.session.id
    assert len(beat.last_commit) == 40


async def test_a_second_turn_continues_the_session_and_counts_only_its_own_cost(host: Host) -> None:
    host.play([{"cost": 0.5}], [{"cost": 0.25}, {"say": "second"}])
    activities, first = host.activities(), host.request()
    await Environment().run(activities.run_agent, first)
    second = first.model_copy(update={"round": 2, "resume": True, "prompt": "go on"})
    result = await Environment().run(activities.run_agent, second)
    assert (result.summary, result.cost_usd, result.turn_cost_usd) == ("second", 0.75, 0.25)
    assert not result.resumed_after_loss


async def test_a_turn_asked_for_again_after_it_finished_repeats_nothing(host: Host) -> None:
    """The worker can die between the agent's end and the report of it."""
    host.play([{"append": {"path": "log", "content": "once\n"}}], [{"append": {"path": "log", "content": "never\n"}}])
    activities, request = host.activities(), host.request()
    await Environment().run(activities.run_agent, request)
    result = await Environment(attempt=2).run(activities.run_agent, request)
    assert result.outcome is agent.Outcome.FINISHED
    assert (host.worktree / "log").read_text() == "once\n"


async def test_cancel_is_quiescent_and_nothing_is_written_afterwards(host: Host) -> None:
    host.play([{"spawn_orphan": {"seconds": 300, "path": "ticks"}}, {"say": "spawned"}, {"hang": {}}])
    environment, request = Environment(), host.request()
    running = asyncio.create_task(environment.run(host.activities().run_agent, request))
    await file_at(host.worktree / "ticks")
    environment.cancel(activity.ActivityCancellationDetails(cancel_requested=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_in(host.worktree) == []
    size = (host.worktree / "ticks").stat().st_size
    await asyncio.sleep(0.1)  # the orphan wrote every 20 ms
    assert (host.worktree / "ticks").stat().st_size == size


@pytest.mark.parametrize("how", ["cancel_requested", "worker_shutdown", "paused"])
async def test_a_stopped_turn_is_resumed_and_each_step_happens_once(host: Host, how: str) -> None:
    steps: list[dict[str, Any]] = [
        {"append": {"path": "log", "content": "one\n"}},
        {"cost": 0.25},
        {"commit": {"message": "One"}},
        WAIT,
        {"append": {"path": "log", "content": "two\n"}},
        {"commit": {"message": "Two"}},
    ]
    host.play(steps)
    activities, request, first = host.activities(), host.request(), Environment()
    running = asyncio.create_task(first.run(activities.run_agent, request))
    await first.beat_where(lambda each: each.cost_usd == 0.25)
    await at_rest(host, request, steps.index(WAIT))
    first.cancel(activity.ActivityCancellationDetails(**{how: True}))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_in(host.worktree) == []
    (host.worktree / "go").touch()
    result = await Environment(first.beats[-1], attempt=2).run(activities.run_agent, request)
    assert (result.outcome, result.resumed_after_loss) == (agent.Outcome.FINISHED, True)
    assert (host.worktree / "log").read_text() == "one\ntwo\n"
    assert host.commits() == ["Two", "One", "begin"]
    assert (result.cost_usd, result.turn_cost_usd) == (0.25, 0.25)


async def test_what_a_git_that_was_killed_left_locked_does_not_stop_the_next_attempt(host: Host) -> None:
    host.play([{"append": {"path": "log", "content": "one\n"}}, {"commit": {"message": "Done"}}])
    outside = host.state / "outside"
    outside.mkdir()
    for place in (host.worktree / ".git" / "index.lock", host.worktree / ".git/refs/heads/x.lock", outside / "a.lock"):
        place.touch()
    (host.worktree / ".git/refs/elsewhere").symlink_to(outside)
    result = await Environment().run(host.activities().run_agent, host.request())
    assert result.outcome is agent.Outcome.FINISHED
    assert host.commits() == ["Done", "begin"]
    assert not (host.worktree / ".git/refs/heads/x.lock").exists()
    assert (outside / "a.lock").exists()


async def test_a_worker_that_stops_checkpoints_the_turn_and_ends_its_process(host: Host) -> None:
    host.play([{"cost": 0.1}, WAIT, {"say": "continued"}])
    activities, request, first = host.activities(), host.request(), Environment()
    running = asyncio.create_task(first.run(activities.run_agent, request))
    await first.beat_where(lambda each: each.cost_usd == 0.1)
    first.worker_shutdown()
    with pytest.raises(ApplicationError, match="the next attempt resumes it") as stopped:
        await running
    assert stopped.value.type == "WorkerShutdown"
    assert not stopped.value.non_retryable
    assert processes_in(host.worktree) == []
    last = first.beats[-1]
    assert (last.launched, last.session.id, last.log_offset > 0) == (True, request.session.id, True)
    (host.worktree / "go").touch()
    result = await Environment(last, attempt=2).run(activities.run_agent, request)
    assert (result.summary, result.resumed_after_loss) == ("continued", True)


async def test_a_resumed_agent_is_told_the_ground_truth(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.play([{"write": {"path": "half.txt", "content": "x"}}, WAIT])
    activities, request, first = host.activities(), host.request(), Environment()
    running = asyncio.create_task(first.run(activities.run_agent, request))
    await file_at(host.worktree / "half.txt")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (host.worktree / "go").touch()
    asked: list[str] = []
    backend = activities.backends["scripted"]
    command = type(backend).command

    def remember(self: Any, turn: agent.TurnRequest, *rest: Any) -> Any:
        asked.append(turn.prompt)
        return command(self, turn, *rest)

    monkeypatch.setattr(type(backend), "command", remember)
    await Environment(first.beats[-1], attempt=2).run(activities.run_agent, request)
    [prompt] = asked
    assert "begin" in prompt
    assert "?? half.txt" in prompt
    assert "Check its effect before you run it again" in prompt
    assert "do it" in prompt


async def test_a_retry_without_a_transcript_starts_the_same_session_afresh(host: Host) -> None:
    host.play([{"say": "fresh"}])
    request = host.request()
    progress = agent.Progress(session=request.session, launched=True)
    result = await Environment(progress, attempt=2).run(host.activities().run_agent, request)
    assert (result.summary, result.session.id, result.resumed_after_loss) == ("fresh", request.session.id, False)


async def test_a_resume_asked_for_on_a_host_without_the_session_starts_it(host: Host) -> None:
    host.play([{"say": "first turn"}])
    result = await Environment().run(host.activities().run_agent, host.request(resume=True, round=3))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "first turn")


async def test_a_session_without_an_id_gets_one_that_a_retry_keeps(host: Host) -> None:
    host.play([WAIT, {"say": "kept"}])
    activities = host.activities()
    request = host.request(session=agent.Session(backend="scripted"))
    first = Environment()
    running = asyncio.create_task(first.run(activities.run_agent, request))
    beat = await first.beat_where(lambda each: each.launched)
    await first.beat_where(lambda each: each.log_offset > 0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (host.worktree / "go").touch()
    result = await Environment(first.beats[-1], attempt=2).run(activities.run_agent, request)
    assert (result.session.id, result.summary) == (beat.session.id, "kept")


async def test_heartbeat_details_of_another_shape_are_ignored(host: Host) -> None:
    host.play([{"say": "fine"}])
    environment = Environment()
    environment.info = dataclasses.replace(environment.info, heartbeat_details=[["unexpected"]])
    result = await environment.run(host.activities().run_agent, host.request())
    assert result.summary == "fine"


@pytest.mark.parametrize(("code", "outcome"), [(3, "crashed"), (0, "protocol_error")])
async def test_a_crash_is_an_error_with_the_code_and_the_session_goes_on_afterwards(
    host: Host, code: int, outcome: str
) -> None:
    """An exit code of 0 without a result is no success: real CLIs end so when they are interrupted."""
    host.play([{"crash": {"exit_code": code}}, {"say": "after the crash"}])
    activities, request = host.activities(), host.request()
    with pytest.raises(errors.AgentCrashed, match=f"with {outcome} and exit code {code}"):
        await Environment().run(activities.run_agent, request)
    again = request.model_copy(update={"round": 2, "resume": True})
    result = await Environment().run(activities.run_agent, again)
    assert (result.summary, result.resumed_after_loss) == ("after the crash", True)


async def test_refusal_and_limit_are_results_not_errors(host: Host) -> None:
    host.play([{"refuse": "I will not"}], [{"limit": "50 turns are used"}])
    activities, request = host.activities(), host.request()
    refused = await Environment().run(activities.run_agent, request)
    limited = await Environment().run(activities.run_agent, request.model_copy(update={"round": 2, "resume": True}))
    assert (refused.outcome, refused.summary) == (agent.Outcome.REFUSED, "I will not")
    assert (limited.outcome, limited.summary) == (agent.Outcome.LIMIT, "50 turns are used")


async def test_a_providers_quota_says_when_to_come_back(host: Host) -> None:
    host.play([{"api_error": {"reason": "rate_limit", "message": "slow down", "retry_after_seconds": 90}}])
    with pytest.raises(errors.QuotaExhausted, match="slow down") as raised:
        await Environment().run(host.activities().run_agent, host.request())
    assert raised.value.retry_after == timedelta(seconds=90)


async def test_a_lost_login_is_for_a_person(host: Host) -> None:
    host.play([{"api_error": {"reason": "authentication_failed", "message": "invalid key"}}])
    with pytest.raises(errors.AgentUnavailable, match="log the agent in"):
        await Environment().run(host.activities().run_agent, host.request())


async def test_silence_without_work_is_a_stall(host: Host) -> None:
    host.play([{"hang": {}}])
    bounds = agent.Limits(silence_seconds=1, total_seconds=30, stop_grace_seconds=1)
    with pytest.raises(errors.AgentStalled, match="can be resumed"):
        await Environment().run(host.activities().run_agent, host.request(limits=bounds))
    assert processes_in(host.worktree) == []


async def test_a_silent_process_that_works_is_no_stall(host: Host) -> None:
    host.play([{"hang": {"busy": True, "seconds": 5}}, {"say": "computed"}])
    bounds = agent.Limits(silence_seconds=3, total_seconds=50)
    result = await Environment().run(host.activities().run_agent, host.request(limits=bounds))
    assert result.summary == "computed"


async def test_the_total_limit_ends_even_a_busy_turn(host: Host) -> None:
    host.play([{"hang": {"busy": True}}])
    bounds = agent.Limits(silence_seconds=20, total_seconds=1, stop_grace_seconds=1)
    with pytest.raises(errors.AgentTimedOut, match="raise turn_seconds"):
        await Environment().run(host.activities().run_agent, host.request(limits=bounds))
    assert processes_in(host.worktree) == []


async def test_a_line_of_a_megabyte_is_no_trouble(host: Host) -> None:
    host.play([{"print_bytes": 1_200_000}, {"say": "after it"}])
    result = await Environment().run(host.activities().run_agent, host.request())
    assert result.summary == "after it"
    assert result.transcript is not None
    assert result.transcript.size > 1_200_000


async def test_orphans_of_a_finished_turn_are_swept(host: Host) -> None:
    host.play([{"spawn_orphan": {"seconds": 300}}])
    result = await Environment().run(host.activities().run_agent, host.request())
    [pid] = [line["pid"] for line in host.transcript() if "pid" in line]
    assert result.outcome is agent.Outcome.FINISHED
    assert proc.identity(pid) is None


async def test_the_agent_sees_nothing_of_the_workers_environment(host: Host) -> None:
    host.play([{"run": {"command": "env; cat /proc/$PPID/environ; tr '\\0' '\\n' < /proc/self/environ"}}])
    hostile = {"PATH": "/usr/bin:/bin:.", "GITHUB_TOKEN": "t1-secret", "FETTLE_FORGE_TOKEN": "t2-secret"}
    hostile |= {"AWS_SECRET_ACCESS_KEY": "t3-secret", "LD_PRELOAD": "", "SSH_AUTH_SOCK": "/tmp/t4-secret"}
    await Environment().run(host.activities(hostile).run_agent, host.request())
    [seen] = [line["text"] for line in host.transcript() if line["type"] == "tool_result"]
    assert "secret" not in seen
    room = rooms.Room.of(host.state, host.request().run)
    assert f"HOME={room.home}" in seen
    assert "PATH=/usr/bin:/bin\n" in seen


async def test_what_a_lost_attempt_left_running_is_ended_before_the_next_starts(host: Host) -> None:
    """After a network partition two attempts can be alive at once; a session is never driven by both."""
    host.play([WAIT, {"say": "alone"}])
    activities, request, zombie = host.activities(), host.request(), Environment()
    lost = asyncio.create_task(zombie.run(activities.run_agent, request))
    await zombie.beat_where(lambda each: each.launched and each.log_offset > 0)
    [old] = processes_in(host.worktree)
    second = Environment(zombie.beats[-1], attempt=2)
    running = asyncio.create_task(second.run(activities.run_agent, request))
    with pytest.raises(errors.AgentCrashed):
        await lost
    (host.worktree / "go").touch()
    result = await running
    assert result.summary == "alone"
    assert proc.identity(old) is None


@pytest.mark.parametrize("place", ["/", "..", "worktrees/../../elsewhere", "worktrees/link"])
async def test_a_worktree_outside_the_state_directory_is_refused(host: Host, place: str) -> None:
    host.play([{"say": "never"}])
    (host.state.parent / "elsewhere").mkdir()
    (host.state / "worktrees" / "link").symlink_to(host.state.parent / "elsewhere")
    with pytest.raises(errors.ConfigurationError, match="the worktrees of this host are below"):
        await Environment().run(host.activities().run_agent, host.request(worktree=str(host.state / place)))


async def test_an_unknown_agent_is_refused_with_those_that_exist(host: Host) -> None:
    with pytest.raises(errors.AgentUnavailable, match=r"asks for the agent 'hal', this host has \['scripted'\]"):
        await Environment().run(host.activities().run_agent, host.request(session=agent.Session(backend="hal")))


async def test_a_prompt_is_rendered_from_the_brief_on_the_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.play([{"say": "ok"}])
    brief = Brief(issue="acme/api#7", title="Broken", body="It is broken", branch="fettle/issue-7", base_branch="main")
    await Environment().run(host.activities().run_agent, host.request(prompt="", brief=brief))
    [start] = [line for line in host.transcript() if line["type"] == "session"]
    assert start["prompt"] > 500
    with pytest.raises(errors.ConfigurationError, match="neither a prompt nor a brief"):
        await Environment().run(host.activities().run_agent, host.request(prompt=""))


async def test_a_long_question_is_cut_with_a_word_and_with_no_part_of_a_secret(host: Host) -> None:
    """What is known of a secret is the whole of it: the cut comes after secrets were taken out."""
    edge = "x" * (agent.LONGEST_QUESTION - 10)
    host.play([{"ask": {"tool": "Bash", "text": f"{edge}correct-horse-battery{'y' * 500}", "run": "true"}}])
    result = await Environment().run(host.activities().run_agent, host.request())
    assert result.outcome is agent.Outcome.NEEDS_APPROVAL
    assert result.question is not None
    assert "correct" not in result.question.text
    assert result.question.text.startswith(edge)
    assert result.question.text.endswith(" more characters]")
