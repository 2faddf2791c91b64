"""What is left when a real CLI is ended in the middle, and that its conversation goes on afterwards."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from domain import agent, errors
from integrations.agent import codex as codex_backend
from sandbox import process
from tests.activities.agent_host import processes_in
from tests.activities.test_agent_turn import Environment, file_at
from tests.agents import clis, model_server
from tests.agents.model_server import Stall, say
from tests.agents.stage import Ended, Stage

LOOP = "echo begun > begun; while [ ! -e go ]; do sleep 0.05; done; echo late > late"
"""A command in flight: it says that it has begun, and goes on until it is told to end."""


async def ended_by(stage: Stage, request: agent.TurnRequest, number: int, ready: str) -> Ended:
    """Play until the file `ready` is in the worktree (or, without one, until the model was asked), then send a signal
    to the program alone."""
    spec = stage.spec(request)
    async with stage.started(request) as running:
        kept = bytearray()

        async def read() -> process.Status:
            async for _ in running.lines(kept.extend):
                pass
            return await running.wait()

        reading = asyncio.create_task(read())
        if ready:
            await file_at(stage.host.worktree / ready)
            await noted(stage, ready)
        else:
            await stage.model.asked(1)
        assert running.program is not None
        os.kill(running.program.pid, number)
        status = await reading
    assert spec.stderr is not None
    return stage.ended(request, status, bytes(kept), process.tail(spec.stderr, 4000))


async def noted(stage: Stage, words: str) -> None:
    """The CLI writes its transcript a moment after it acts; what a kill finds unwritten, the conversation never had."""
    async with asyncio.timeout(20):
        while words not in stage.kept_text():  # noqa: ASYNC110 - another process writes, and tells nobody
            await asyncio.sleep(0.02)


SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)


@SIGNALS
async def test_a_cli_that_is_ended_in_a_command_is_resumed_and_leaves_nothing_running(
    stage: Stage, number: signal.Signals
) -> None:
    """The command lives in a session of its own: only the launcher's sweep finds it after a kill -9."""
    stage.model.script(stage.write("a.txt", "made"), stage.shell(LOOP))
    request = stage.request("Make a.txt and wait.")
    ended = await ended_by(stage, request, number, ready="begun")
    codex_on_interrupt = stage.cli.program == "codex" and number is signal.SIGINT  # it ends with 1, like a failure
    outcome = agent.Outcome.CRASHED if codex_on_interrupt else agent.Outcome.INTERRUPTED
    assert ended.verdict.outcome is outcome
    assert processes_in(stage.host.worktree) == []
    if number is signal.SIGKILL:
        assert ended.swept >= 1
    (stage.host.worktree / "go").touch()

    stage.model.script(say("Both are there."))
    session = stage.kept_session()
    resumed = await stage.play(stage.request("Go on.", session=session, resume=True, round=2))
    assert (resumed.verdict.outcome, resumed.verdict.summary) == (agent.Outcome.FINISHED, "Both are there.")
    last = stage.model.requests[-1].text
    assert "Make a.txt and wait." in last
    if stage.cli != clis.CLAUDE_OLD:  # which may drop a call that has no answer
        assert "echo begun" in last
    assert stage.file("a.txt") == "made"
    assert stage.file("late") is None, "the command of the lost process went on"
    stage.quiet(3)


@SIGNALS
async def test_a_cli_that_is_ended_while_its_model_thinks_can_go_on(stage: Stage, number: signal.Signals) -> None:
    stage.model.script(Stall())
    request = stage.request("Think.")
    ended = await ended_by(stage, request, number, ready="")
    possible = {agent.Outcome.INTERRUPTED, agent.Outcome.CRASHED}
    if stage.cli.program == "claude" and number is signal.SIGINT:
        # Claude answers INT with exit code 0, and at some instants it prints no result: 11 of 60 trials within 0.2 s
        # of the first line or of the request with the older release, 1 of 60 with the newer one.
        possible.add(agent.Outcome.PROTOCOL_ERROR)
    assert ended.verdict.outcome in possible
    assert not any(event.outcome is agent.Outcome.FINISHED for event in ended.events)
    stage.model.script(say("Thought."))
    kept = stage.kept_text()  # killed this early, Claude may have none: then the same session is begun again
    session = stage.kept_session() if kept else request.session
    prompt = "Go on." if kept else "Think."
    resumed = await stage.play(stage.request(prompt, session=session, resume=bool(kept), round=2))
    assert (resumed.verdict.outcome, resumed.verdict.summary) == (agent.Outcome.FINISHED, "Thought.")
    assert "Think." in stage.model.requests[-1].text
    stage.quiet(2)


async def test_a_command_that_detached_itself_ends_with_a_turn_that_finished(stage: Stage) -> None:
    """Claude's survive even a normal end."""
    detached = "setsid nohup sh -c 'echo $$ > pid; exec sleep 300' >/dev/null 2>&1 &"
    stage.model.script(stage.shell(f"{detached} while [ ! -s pid ]; do sleep 0.05; done"))
    stage.model.script(say("Done."))
    result = await stage.turn(stage.request())
    assert result.outcome is agent.Outcome.FINISHED
    pid = int(stage.file("pid") or "0")
    assert pid > 1
    assert not Path(f"/proc/{pid}").exists()
    stage.quiet(2)


async def test_a_lost_attempt_is_continued_by_the_next_one_in_the_same_conversation(stage: Stage) -> None:
    """kill -9 of the agent in the middle of a command; the retry of the activity tells it the truth."""
    stage.model.script(stage.write("a.txt", "made"), stage.shell(LOOP))
    request, first = stage.request("Make a.txt and wait."), Environment()
    running = asyncio.create_task(stage.turn(request, first))
    await file_at(stage.host.worktree / "begun")
    beat = await first.beat_where(lambda each: bool(each.launched and each.session.id))
    [program] = [pid for pid in processes_in(stage.host.worktree) if _is_cli(pid, stage)]
    os.kill(program, signal.SIGKILL)
    with pytest.raises(errors.AgentCrashed, match="with interrupted"):
        await running
    assert processes_in(stage.host.worktree) == []

    stage.model.script(say("All there."))
    result = await stage.turn(request, Environment(first.beats[-1], attempt=2))
    assert (result.outcome, result.summary, result.resumed_after_loss) == (
        agent.Outcome.FINISHED,
        "All there.",
        True,
    )
    assert result.session.id == beat.session.id
    assert "do not start over" in _words_of(stage.model.requests[-1])
    stage.quiet(3)


async def test_of_two_attempts_at_one_session_the_second_ends_the_first(stage: Stage) -> None:
    """Claude has no lock: both would exit with 0 and half of the history would be lost."""
    stage.model.script(say("First."))
    request = stage.request("Begin.")
    opened = await stage.turn(request)
    stage.model.script(Stall(), say("Second."))
    following = stage.after(opened, "Continue.")
    lost = asyncio.create_task(stage.turn(following))
    await stage.model.asked(2)
    result = await stage.turn(following, Environment(attempt=2))
    with pytest.raises(errors.AgentCrashed):
        await lost
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Second.")
    assert result.session.id == opened.session.id
    assert "Begin." in stage.model.requests[-1].text
    stage.quiet(3)


async def test_a_name_that_codex_does_not_know_is_not_a_session(codex: Stage) -> None:
    """It would start a new conversation with it, and exit with 0."""
    codex.model.script(say("Hello."))
    other = agent.Session(backend="codex", id="not-a-uuid")
    assert codex.backend.transcript(codex.room.home, other) is None
    ended = await codex.play(codex.request(session=other, resume=True))
    assert ended.exit_code == 0
    assert (ended.verdict.outcome, ended.verdict.reason) == (agent.Outcome.PROTOCOL_ERROR, "other_session")
    codex.quiet(1)


@pytest.mark.parametrize("unknown", ["0b1c7a52-1111-4222-8333-944455556666"])
async def test_a_session_that_is_gone_is_told_as_such(stage: Stage, unknown: str) -> None:
    session = agent.Session(backend=stage.backend.name, id=unknown)
    ended = await stage.play(stage.request(session=session, resume=True))
    assert ended.verdict.outcome is not agent.Outcome.FINISHED
    assert stage.backend.corrected_resume(ended.events, ended.stderr, resume=True) is False
    stage.quiet(0)


async def test_a_claude_session_that_exists_is_told_as_such(claude: Stage) -> None:
    claude.model.script(say("Hello."))
    request = claude.request()
    await claude.play(request)
    ended = await claude.play(request)
    assert ended.verdict.outcome is not agent.Outcome.FINISHED
    assert claude.backend.corrected_resume(ended.events, ended.stderr, resume=False) is True
    claude.quiet(1)


async def test_codex_gives_up_a_provider_that_refuses_connections(codex: Stage) -> None:
    """Left to itself it retries for ever."""
    nowhere = codex_backend.CodexBackend(
        codex_backend.CodexSettings(base_url="http://127.0.0.1:9/v1", stream_retries=0)
    )
    stage = Stage(codex.host, codex.cli, nowhere, codex.environment, codex.model, codex.found)
    ended = await stage.play(stage.request())
    assert (ended.verdict.outcome, ended.verdict.reason) == (agent.Outcome.API_ERROR, "connection")
    assert ended.verdict.retryable
    codex.quiet(0)


def _words_of(request: model_server.Request) -> str:
    """The newest words that the model was told."""
    messages = request.body.get("messages") or request.body.get("input")
    assert isinstance(messages, list)
    return json.dumps(messages[-1])


def _is_cli(pid: int, stage: Stage) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == stage.found.path
    except OSError:
        return False
