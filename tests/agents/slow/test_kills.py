"""A process that is ended in the middle: the verdict, the resume, and nothing left running."""

import asyncio
import signal

import pytest

from activities import turn_process
from domain import agent, errors
from integrations.agent import port
from sandbox import proc, process
from tests.activities.test_agent_turn import file_at
from tests.agents import stage as stages
from tests.agents.model_server import Stall, say
from tests.agents.slow import stage as slow
from tests.agents.slow.stage import SlowStage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_a_stream_that_stalls_is_ended_by_the_silence_limit_and_resumed(stage: SlowStage) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), Stall(), say("Done."))
    request = stage.request(limits=agent.Limits(silence_seconds=8, total_seconds=55))
    with pytest.raises(errors.AgentStalled):
        await stage.turn(request)
    assert stages.processes_in(stage.host.worktree) == []
    session = kept_session(stage, request)
    result = await stage.turn(request.model_copy(update={"session": session, "resume": True}))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
    assert stage.file("a.txt") == "made\n"
    assert "Do it." in stage.model.requests[-1].text
    stage.quiet(3)


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
async def test_a_killed_process_is_no_finished_turn_and_leaves_no_command(
    stage: SlowStage, order: signal.Signals
) -> None:
    """Gemini CLI ends with exit code 0; the commands of all three live on without their parent."""
    request = stage.request()
    stage.model.script(stage.shell("echo begun > begun.txt; sleep 300"))
    running = await process.ConfinedProcess.start(stage.spec(request))
    lines: list[bytes] = []

    async def read() -> None:
        async for line in running.lines(lambda _: None):
            lines.append(line)
        await running.wait()

    reading = asyncio.create_task(read())
    await stage.model.asked(1)
    await file_at(stage.host.worktree / "begun.txt")
    assert running.program is not None
    proc.send(running.program, order)
    await asyncio.wait_for(reading, 40)
    status = await running.close(0)
    events = [event for line in lines for event in stage.backend.parse(line)]
    verdict: port.Verdict = stage.backend.fold(events, turn_process.exit_code_of(status), request)
    assert verdict.outcome is agent.Outcome.INTERRUPTED
    stage.quiet(1)


def kept_session(stage: SlowStage, request: agent.TurnRequest) -> agent.Session:
    """What a heartbeat would have told; opencode's id stands in its first line."""
    if stage.cli != slow.OPENCODE:
        return request.session
    log = stage.host.transcript()
    return agent.Session(backend="opencode", id=next(line["sessionID"] for line in log if "sessionID" in line))
