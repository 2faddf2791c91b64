"""Whole turns of the real Gemini CLI, opencode and Kimi Code, from the activity to the worktree."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from domain import agent, errors
from integrations.agent import port
from tests.agents import model_server
from tests.agents import stage as stages
from tests.agents.model_server import Failure, say
from tests.agents.slow import stage as slow
from tests.agents.slow.stage import SlowStage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SCHEMA = json.dumps({"type": "object", "required": ["verdict"], "properties": {"verdict": {"enum": ["yes", "no"]}}})


async def test_a_turn_leaves_its_work_and_its_words(stage: SlowStage) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), stage.shell("echo done > b.txt"), say("The file is there."))
    result = await stage.turn(stage.request("Make a.txt."))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "The file is there.")
    assert (stage.file("a.txt"), stage.file("b.txt")) == ("made\n", "done\n")
    assert (result.session.version, result.capability.verified) == (stage.cli.version, True)
    assert result.session.id
    assert result.denials == ()
    assert result.cost_usd is None, "none of them knows the price of a scripted model: unknown is not zero"
    assert "Make a.txt." in stage.model.requests[0].text
    assert stage.model.side == [], "the model is asked for nothing but the task"
    stage.quiet(3)


async def test_the_usage_is_of_the_process(stage: SlowStage) -> None:
    stage.model.script(stage.shell("true"), say("Done."))
    ended = await stage.play(stage.request())
    expected = agent.Usage(input_tokens=200, cached_tokens=0, output_tokens=40)
    assert ended.verdict.usage == (None if stage.cli == slow.KIMI else expected)
    assert not ended.verdict.usage_is_of_session or ended.verdict.usage is None
    stage.quiet(2)


async def test_the_next_turn_continues_the_same_conversation(stage: SlowStage) -> None:
    stage.model.script(stage.write("a.txt", "made\n"), say("First."), say("Second."))
    first = await stage.turn(stage.request("Make a.txt."))
    second = await stage.turn(stage.after(first, "And now?"))
    assert (second.outcome, second.summary) == (agent.Outcome.FINISHED, "Second.")
    assert second.session.id == first.session.id
    last = stage.model.requests[-1].text
    assert "Make a.txt." in last
    assert "And now?" in last
    stage.quiet(3)


async def test_another_host_resumes_from_the_files_of_the_session(stage: SlowStage, tmp_path: Path) -> None:
    stage.model.script(say("First."), say("Second."))
    first = await stage.turn(stage.request("Remember the word heron."))
    old = stage.room.home
    kept = {path.relative_to(old): path.read_bytes() for path in stage.backend.session_files(old, first.session)}
    shutil.rmtree(old)
    for name, content in kept.items():
        path = old / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert stage.backend.transcript(old, first.session) is not None
    second = await stage.play(stage.after(first, "Which word?"))
    assert (second.verdict.outcome, second.verdict.summary) == (agent.Outcome.FINISHED, "Second.")
    assert "heron" in stage.model.requests[-1].text
    stage.quiet(2)


async def test_a_session_that_the_cli_does_not_know_is_begun_afresh(stage: SlowStage) -> None:
    stage.model.script(say("First."), say("Afresh."))
    first = await stage.turn(stage.request("One."))
    home = stage.room.home
    for path in stage.backend.session_files(home, first.session):
        path.unlink()
    assert stage.backend.transcript(home, first.session) is None
    second = await stage.turn(stage.after(first, "Two."))
    assert (second.outcome, second.summary) == (agent.Outcome.FINISHED, "Afresh.")
    stage.quiet(2)


async def test_an_unknown_session_is_told_from_a_crash(stage: SlowStage) -> None:
    if stage.cli == slow.KIMI:
        pytest.skip("Kimi Code is only asked to resume what is in the session's own home")
    strange = "ses_0000000000000000000000000" if stage.cli == slow.OPENCODE else "ffffffff-1111-4222-8333-944455556666"
    session = agent.Session(backend=stage.backend.name, id=strange)
    ended = await stage.play(stage.request(session=session, resume=True))
    assert ended.verdict.outcome is agent.Outcome.CRASHED
    assert stage.backend.corrected_resume(ended.events, ended.stderr, resume=True) is False
    stage.quiet(0)


async def test_a_session_that_exists_is_told_from_a_crash(stage: SlowStage) -> None:
    if stage.cli != slow.GEMINI:
        pytest.skip("only Gemini CLI lets its caller choose the id")
    stage.model.script(say("First."))
    request = stage.request()
    await stage.play(request)
    again = await stage.play(request)
    assert stage.backend.corrected_resume(again.events, again.stderr, resume=False) is True
    stage.quiet(1)


async def test_a_wrong_key_is_for_a_person(stage: SlowStage) -> None:
    stage.model.script(Failure(401, "invalid_api_key", "the key is wrong"))
    with pytest.raises(errors.AgentUnavailable, match=r"with api_error \(authentication_failed\)"):
        await stage.turn(stage.request())
    stage.quiet(1)


async def test_a_rate_limit_that_lasts_is_for_a_durable_wait(stage: SlowStage) -> None:
    if stage.cli == slow.OPENCODE:
        pytest.skip("opencode asks again without an end and without a word")
    kind = "RESOURCE_EXHAUSTED" if stage.cli == slow.GEMINI else "rate_limit_reached_error"
    stage.model.script(*[Failure(429, kind, "slow down")] * 2)
    with pytest.raises(errors.QuotaExhausted, match="with api_error"):
        await stage.turn(stage.request())
    stage.quiet(2)


async def test_a_provider_that_fails_once_is_asked_again(stage: SlowStage) -> None:
    stage.model.script(Failure(500, "server_error"), say("Done."))
    ended = await stage.play(stage.request())
    assert (ended.verdict.outcome, ended.verdict.summary) == (agent.Outcome.FINISHED, "Done.")
    stage.quiet(2)


async def test_the_number_of_answers_is_bounded_where_the_cli_can(stage: SlowStage) -> None:
    if stage.cli == slow.OPENCODE:
        pytest.skip("opencode has no bound")
    stage.model.script(stage.shell("echo 1 > one.txt"), stage.shell("echo 2 > two.txt"))
    ended = await stage.play(stage.request(limits=agent.Limits(model_turns=2)))
    assert (ended.verdict.outcome, ended.verdict.reason) == (agent.Outcome.LIMIT, "max_turns")
    assert (stage.file("one.txt"), stage.file("two.txt")) == ("1\n", "2\n")
    stage.quiet(2)


async def test_a_reading_agent_changes_nothing_and_says_what_was_refused(stage: SlowStage) -> None:
    stage.model.script(stage.read("README.md"), stage.write("a.txt", "x"), stage.shell("touch b.txt"), say("I cannot."))
    ended = await stage.play(stage.request(autonomy=agent.Autonomy.PLAN))
    assert (ended.verdict.outcome, ended.verdict.summary) == (agent.Outcome.FINISHED, "I cannot.")
    assert ended.verdict.denials == stage.refused
    assert (stage.file("a.txt"), stage.file("b.txt")) == (None, None)
    assert "hello" in stage.model.requests[1].text, "it could read"
    stage.quiet(4)


async def test_an_editing_agent_writes_files_and_runs_nothing(stage: SlowStage) -> None:
    stage.model.script(stage.write("a.txt", "x"), stage.shell("touch b.txt"), say("Half of it."))
    ended = await stage.play(stage.request(autonomy=agent.Autonomy.EDIT))
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    assert ended.verdict.denials == stage.refused[1:]
    assert (stage.file("a.txt"), stage.file("b.txt")) == ("x", None)
    stage.quiet(3)


async def test_an_editing_agent_runs_the_commands_that_are_allowed_by_name(stage: SlowStage) -> None:
    allowed = {"gemini": "run_shell_command(git)", "opencode": "bash(git *)"}.get(stage.cli.program)
    if allowed is None:
        pytest.skip("Kimi Code cannot narrow a tool")
    stage.model.script(stage.shell("git branch allowed"), stage.shell("touch b.txt"), say("Done."))
    ended = await stage.play(stage.request(autonomy=agent.Autonomy.EDIT, allowed_tools=(allowed,)))
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    assert ended.verdict.denials == stage.refused[1:]
    assert (stage.host.worktree / ".git" / "refs" / "heads" / "allowed").exists()
    assert stage.file("b.txt") is None
    stage.quiet(3)


async def test_a_plan_is_the_question_and_a_yes_carries_it_out(stage: SlowStage) -> None:
    stage.model.script(stage.write("a.txt", "too early"), say("I will write a.txt."))
    asking = {"ask_tools": (stage.refused[1],)}
    first = await stage.turn(stage.request("Make a.txt.", **asking))
    assert first.outcome is agent.Outcome.NEEDS_APPROVAL
    assert first.question is not None
    assert first.question.text == "I will write a.txt."
    assert stage.file("a.txt") is None
    stage.model.script(stage.write("a.txt", "agreed"), say("Written."))
    answer = agent.Answer(question_id=first.question.id, allow=True, by="ann")
    second = await stage.turn(stage.after(first, "Make a.txt.", answer=answer, **asking))
    assert (second.outcome, second.summary) == (agent.Outcome.FINISHED, "Written.")
    assert stage.file("a.txt") == "agreed"
    assert "approved by ann" in stage.model.requests[2].text
    stage.quiet(4)


async def test_an_answer_in_a_schema_is_asked_for_in_words_and_handed_on(stage: SlowStage) -> None:
    stage.model.script(say('It is clear.\n```json\n{"verdict": "yes"}\n```'))
    ended = await stage.play(stage.request(answer_schema=SCHEMA))
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    assert json.loads(ended.verdict.structured) == {"verdict": "yes"}
    assert "JSON Schema" in stage.model.requests[0].text
    stage.quiet(1)


async def test_a_tool_server_of_the_policy_is_started_with_its_environment(stage: SlowStage, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    program = str(Path(stages.__file__).with_name("mcp_server.py"))
    server = agent.McpServer(
        name="desk", command=sys.executable, args=("-I", program, str(stamp)), env={"STAMP": 'ünïcode \\ "x"'}
    )
    tool = {"gemini": "mcp_desk_stamp", "opencode": "desk_stamp"}.get(stage.cli.program, "mcp__desk__stamp")
    stage.model.script(model_server.call(tool, word="hello"), say("Stamped."))
    ended = await stage.play(stage.request(mcp_servers=(server,)))
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    assert stamp.read_text() == 'hello ünïcode \\ "x"'
    stage.quiet(2)


async def test_with_a_proxy_the_agent_holds_a_placeholder(stage: SlowStage) -> None:
    path = "" if stage.cli == slow.GEMINI else "/v1"
    access = port.ModelAccess(f"{stage.model.url}{path}", "placeholder-1")
    stage.model.script(stage.shell("env > env.txt"), say("Done."))
    ended = await stage.play(stage.request(), access=access)
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    headers = stage.model.requests[0].headers
    assert headers.get("x-goog-api-key", headers.get("authorization", "").removeprefix("Bearer ")) == "placeholder-1"
    assert stages.KEY not in (stage.file("env.txt") or "")
    stage.quiet(2)


async def test_a_prompt_of_400_kilobytes_arrives(stage: SlowStage) -> None:
    """In one argument of a command line it would be too long for the kernel."""
    prompt = "Read on. " * 45_000
    request = stage.request(prompt)
    # Gemini CLI repeats the prompt on its output, and what it has not written when it ends is lost: give it the time
    # that a real model takes.
    stage.model.script(stage.shell("sleep 2"), say("Done."))
    ended = await stage.play(request)
    assert ended.verdict.outcome is agent.Outcome.FINISHED
    asked = stage.model.requests[0].text
    if stage.cli == slow.KIMI:
        path = stage.backend.config_dir(stage.room.home) / request.session.id / "prompt.md"
        assert path.read_text() == prompt
        assert str(path) in asked
    else:
        assert prompt.strip() in asked
    stage.quiet(2)
