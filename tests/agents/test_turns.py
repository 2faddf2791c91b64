"""Whole turns of the real CLIs, from the activity to the worktree."""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from domain import agent, errors
from integrations.agent import port
from sandbox import process
from tests.activities.agent_host import processes_in
from tests.agents import clis, model_server
from tests.agents import stage as stages
from tests.agents.model_server import Cut, Failure, Stall, say
from tests.agents.stage import Stage

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": ["yes", "no"]}},
        "required": ["verdict"],
        "additionalProperties": False,
    }
)


async def test_a_turn_leaves_its_work_its_words_and_its_usage(stage: Stage) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), say("The file is there."))
    result = await stage.turn(stage.request("Make a.txt."))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "The file is there.")
    assert stage.file("a.txt") == "made\n"
    assert result.session.version == stage.cli.version
    assert result.session.id
    assert result.transcript is not None
    assert result.denials == ()
    assert "Make a.txt." in stage.model.requests[0].text
    stage.quiet(2)


async def test_a_turn_tells_what_was_found_of_the_cli_and_what_it_used(stage: Stage) -> None:
    stage.model.script(say("Done."))
    result = await stage.turn(stage.request())
    assert (result.capability.version, result.capability.verified) == (stage.cli.version, True)
    assert result.usage == agent.Usage(input_tokens=100, cached_tokens=0, output_tokens=20)
    if stage.cli.program == "claude":
        assert result.cost_usd is not None
        assert result.cost_usd > 0
    else:
        assert result.cost_usd is None, "Codex tells no cost: unknown is not zero"
    stage.quiet(1)


async def test_the_next_turn_continues_the_same_conversation(stage: Stage) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), say("First."), say("Second."))
    first = await stage.turn(stage.request("Make a.txt."))
    second = await stage.turn(stage.after(first, "And now?"))
    assert (second.outcome, second.summary) == (agent.Outcome.FINISHED, "Second.")
    assert second.session.id == first.session.id
    last = stage.model.requests[-1].text
    assert "Make a.txt." in last
    assert "And now?" in last
    assert "do not start over" not in last, "it was told of a loss that never was"
    assert not second.resumed_after_loss
    stage.quiet(3)


async def test_each_turn_counts_its_own_usage_and_cost_once(stage: Stage) -> None:
    """Claude's newer release and Codex count over resumes, the older release anew in each process."""
    stage.model.script(say("First."), say("Second."))
    first = await stage.turn(stage.request())
    second = await stage.turn(stage.after(first))
    assert first.usage == second.usage == agent.Usage(input_tokens=100, cached_tokens=0, output_tokens=20)
    if stage.cli.program == "claude":
        assert first.turn_cost_usd == pytest.approx(second.turn_cost_usd)
        assert second.cost_usd == pytest.approx(2 * (first.cost_usd or 0))
    stage.quiet(2)


async def test_a_line_of_more_than_a_mebibyte_is_read_whole(stage: Stage) -> None:
    """Claude prints it in the middle of its turn and waits until it was read; see the next test for why."""
    text = "x" * 1_200_000
    claude = stage.cli.program == "claude"
    wait = stage.shell("while [ ! -e read ]; do sleep 0.05; done")
    large = [stage.write("a.txt", text), wait, say("Done.")] if claude else [say(text)]
    stage.model.script(*large)
    request, kept, longest = stage.request(), bytearray(), 0
    async with stage.started(request) as running:
        async for each in running.lines(kept.extend):
            longest = max(longest, len(each))
            if longest > len(text):
                (stage.host.worktree / "read").touch()
        ended = stage.ended(request, await running.wait(), bytes(kept), b"")
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    assert longest > len(text)
    assert text in (stage.file("a.txt"), ended.verdict.summary)
    stage.quiet(len(large))


@pytest.mark.parametrize("claude", [clis.CLAUDE_OLD], ids=str, indirect=True)
async def test_last_words_that_the_old_claude_lost_are_no_success(claude: Stage) -> None:
    """It ends with 0 before a full pipe has taken all it printed, its result line among it."""
    claude.model.script(say("x" * 1_200_000))
    request, kept = claude.request(), bytearray()
    async with claude.started(request) as running:
        status = await running.wait()  # nothing is read before it has ended
        async for _ in running.lines(kept.extend):
            pass
    ended = claude.ended(request, status, bytes(kept), b"")
    assert ended.exit_code == 0
    assert (ended.verdict.outcome, ended.verdict.cost_usd) == (agent.Outcome.PROTOCOL_ERROR, None)
    claude.quiet(1)


async def test_a_rate_limit_that_passes_is_waited_out_inside_the_turn(stage: Stage) -> None:
    stage.model.script(Failure(429, "rate_limit_error", headers={"retry-after": "1"}), say("Done."))
    result = await stage.turn(stage.request())
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
    stage.quiet(2)


async def test_a_rate_limit_that_lasts_is_for_a_durable_wait(stage: Stage) -> None:
    kind = "rate_limit_error" if stage.cli.program == "claude" else "usage_limit_reached"
    stage.model.script(Failure(429, kind, headers={"retry-after": "3600"}))
    with pytest.raises(errors.QuotaExhausted, match="with api_error"):
        await stage.turn(stage.request())
    stage.quiet(1)


async def test_a_wrong_key_is_for_a_person(stage: Stage) -> None:
    """Both CLIs ask again after a 401; the activity must not."""
    attempts = 3 if stage.cli.program == "claude" else 2
    kind = "authentication_error" if stage.cli.program == "claude" else "invalid_api_key"
    stage.model.script(*[Failure(401, kind)] * attempts)
    with pytest.raises(errors.AgentUnavailable, match=r"with api_error \(authentication_failed\)"):
        await stage.turn(stage.request())
    stage.quiet(attempts)


@pytest.mark.parametrize(
    ("failure", "reason", "retryable"),
    [
        (Failure(403, "permission_error"), {"authentication_failed", "permission_error"}, False),
        (Failure(500, "api_error"), {"server_error"}, True),
        (Failure(529, "overloaded_error"), {"overloaded", "server_error"}, True),
        (Failure(503, "server_is_overloaded"), {"overloaded", "server_error"}, True),
        (Failure(413, "request_too_large"), {"invalid_request", "unknown"}, None),
    ],
    ids=["403", "500", "529", "503", "413"],
)
async def test_a_failure_of_the_provider_has_a_class(
    stage: Stage, failure: Failure, reason: set[str], retryable: bool | None
) -> None:
    stage.model.script(*[failure] * 8)
    ended = await stage.play(stage.request())
    assert ended.verdict.outcome is agent.Outcome.API_ERROR
    assert ended.verdict.reason in reason
    if retryable is not None:
        assert ended.verdict.retryable is retryable
    assert ended.verdict.summary
    assert 1 <= len(stage.model.requests) <= 6
    assert stage.model.unforeseen == []


async def test_a_stream_that_stalls_is_ended_by_the_silence_limit_and_resumed(stage: Stage) -> None:
    """The CLIs wait for minutes, or for ever."""
    stage.model.script(stage.write("a.txt", "made\n"), Stall(), say("Done."))
    limits = agent.Limits(silence_seconds=6, total_seconds=50)
    request = stage.request(limits=limits)
    with pytest.raises(errors.AgentStalled):
        await stage.turn(request)
    assert processes_in(stage.host.worktree) == []
    kept = stage.kept_session()  # the error did not tell the run its name
    result = await stage.turn(request.model_copy(update={"resume": True, "round": 2}))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
    assert (result.session.id, result.resumed_after_loss) == (kept.id, True)
    assert stage.file("a.txt") == "made\n"
    stage.quiet(3)


async def test_a_stream_that_is_cut_is_asked_for_again(stage: Stage) -> None:
    stage.model.script(Cut(say("Half."), events=0), say("Whole."))
    ended = await stage.play(stage.request())
    assert (ended.verdict.outcome, ended.verdict.summary) == (agent.Outcome.FINISHED, "Whole.")
    stage.quiet(2)


async def test_an_answer_in_a_schema_is_handed_on(stage: Stage) -> None:
    stage.model.script(stage.structured({"verdict": "yes"}))
    ended = await stage.play(stage.request(answer_schema=SCHEMA))
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    assert json.loads(ended.verdict.structured) == {"verdict": "yes"}
    stage.quiet(1)


async def test_a_model_that_does_not_answer_in_the_schema_has_not_finished(stage: Stage) -> None:
    """Both CLIs exit with 0. Claude reminds its model once."""
    asked = 2 if stage.cli.program == "claude" else 1
    stage.model.script(*[say("I would rather not.")] * asked)
    ended = await stage.play(stage.request(answer_schema=SCHEMA))
    assert ended.exit_code == 0
    assert (ended.verdict.outcome, ended.verdict.reason) == (agent.Outcome.PROTOCOL_ERROR, "schema")
    stage.quiet(asked)


async def test_a_tool_server_of_the_policy_is_started_with_its_environment(stage: Stage, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    program = str(Path(__file__).with_name("mcp_server.py"))
    server = agent.McpServer(
        name="desk", command=sys.executable, args=("-I", program, str(stamp)), env={"STAMP": 'ünïcode \\ "x"'}
    )
    stage.model.script(model_server.call("mcp__desk__stamp", word="hello"), say("Stamped."))
    result = await stage.turn(stage.request(mcp_servers=(server,)))
    assert result.outcome is agent.Outcome.FINISHED
    assert stamp.read_text() == 'hello ünïcode \\ "x"'
    stage.quiet(2)


async def test_no_command_line_says_the_variables_of_a_tool_server(stage: Stage, tmp_path: Path) -> None:
    """Whoever is on the host can read it, for as long as the turn lasts."""
    secret = "s3cret-of-a-server"
    program = str(Path(__file__).with_name("mcp_server.py"))
    server = agent.McpServer(
        name="desk", command=sys.executable, args=("-I", program, str(tmp_path / "stamp")), env={"STAMP": secret}
    )
    stage.model.script(model_server.call("mcp__desk__stamp", word="hello"), Stall())
    async with stage.started(stage.request(mcp_servers=(server,))) as running:
        reading = asyncio.create_task(_read(running))
        await stage.model.asked(2)
        assert (tmp_path / "stamp").read_text() == f"hello {secret}"
        pids = processes_in(stage.host.worktree)
        assert running.program is not None
        assert running.program.pid in pids
        lines = [_command_line(pid) for pid in (*pids, running.launcher.pid)]
        assert any(lines)
        assert not any(secret.encode() in line for line in lines)
    reading.cancel()
    assert [
        path for path in stage.host.worktree.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    ] == []
    stage.quiet(2)


def _command_line(pid: int) -> bytes:
    """Empty when the process is gone by now: a CLI has helpers that live for a moment."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


async def _read(running: process.ConfinedProcess) -> None:
    async for _ in running.lines():
        pass


async def test_the_agents_commands_see_the_allow_list_and_no_secret_of_the_host(stage: Stage) -> None:
    stage.environment.update(GITHUB_TOKEN="ghp_x", AWS_SECRET_ACCESS_KEY="y", FETTLE_STORE_URL="z")
    stage.model.script(stage.shell("env > env.txt"), say("Done."))
    result = await stage.turn(stage.request())
    assert result.outcome is agent.Outcome.FINISHED
    names = {line.partition("=")[0] for line in (stage.file("env.txt") or "").splitlines()}
    assert {"HOME", "PATH", "TMPDIR"} <= names
    assert names & {"GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "FETTLE_STORE_URL", "OPENAI_API_KEY"} == set()
    stage.quiet(2)


async def test_with_a_proxy_the_agent_holds_a_placeholder(stage: Stage) -> None:
    """What stands between the agent and its provider adds the key; here it is looked at before."""
    path = "/v1" if stage.cli.program == "codex" else ""
    access = port.ModelAccess(f"{stage.model.url}{path}", "placeholder-1")
    stage.model.script(say("Done."))
    ended = await stage.play(stage.request(), access=access)
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    headers = stage.model.requests[0].headers
    assert headers.get("x-api-key", headers.get("authorization", "").removeprefix("Bearer ")) == "placeholder-1"
    assert stages.KEY not in json.dumps(dict(headers))
    stage.quiet(1)
