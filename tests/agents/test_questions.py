"""An action that a person decides: the process ends, and an answer goes on with exactly that call."""

import os
import signal

from domain import agent
from sandbox import process
from tests.activities.test_agent_turn import file_at
from tests.agents import clis, model_server
from tests.agents.model_server import Call, Reply, Text, say
from tests.agents.stage import Stage
from tests.agents.test_way_out import confined

ASK = ("Bash(./deploy*)",)
DEPLOY = model_server.call("Bash", command="echo 1 >> tried; ./deploy now", description="deploy")


def prepared(stage: Stage) -> Stage:
    """A worktree with a program that counts its runs."""
    program = stage.host.worktree / "deploy"
    program.write_text("#!/bin/sh\necho deployed >> deployed\n")
    program.chmod(0o755)
    return stage


def answer_to(result: agent.TurnResult, allow: bool, note: str = "") -> agent.Answer:
    assert result.question is not None
    return agent.Answer(question_id=result.question.id, allow=allow, by="kim", note=note)


async def asked(stage: Stage, **more: object) -> agent.TurnResult:
    result = await stage.turn(stage.request("Deploy.", ask_tools=ASK, **more))
    assert result.outcome is agent.Outcome.NEEDS_APPROVAL
    assert result.question is not None
    assert (result.question.tool, result.question.text) == ("Bash", "echo 1 >> tried; ./deploy now")
    assert stage.file("deployed") is None
    assert stage.file("tried") is None
    return result


async def test_an_approved_call_runs_once_and_the_turn_goes_on(claude: Stage) -> None:
    prepared(claude).model.script(DEPLOY, say("Deployed."))
    waiting = await asked(claude)
    claude.quiet_for_now(1)
    request = claude.after(waiting, "unused", ask_tools=ASK, answer=answer_to(waiting, True))
    result = await claude.turn(request)
    assert (result.outcome, result.summary, result.denials) == (agent.Outcome.FINISHED, "Deployed.", ())
    assert claude.file("deployed") == "deployed\n"
    assert "unused" not in claude.model.requests[-1].text
    claude.quiet(2)


async def test_a_rejected_call_does_not_run_and_the_agent_hears_why(claude: Stage) -> None:
    prepared(claude).model.script(DEPLOY, say("Understood."))
    waiting = await asked(claude)
    word = answer_to(waiting, False, "not on a Friday")
    result = await claude.turn(claude.after(waiting, ask_tools=ASK, answer=word))
    assert (result.outcome, result.summary, result.denials) == (agent.Outcome.FINISHED, "Understood.", ("Bash",))
    assert claude.file("deployed") is None
    assert "kim decided against this call: not on a Friday" in claude.model.requests[-1].text
    claude.quiet(2)


async def test_an_answer_is_about_its_own_call_alone(claude: Stage) -> None:
    """The agent asks for the same command again: that is another question."""
    prepared(claude).model.script(DEPLOY, model_server.call("Bash", command="./deploy now", description="again"))
    waiting = await asked(claude)
    again = await claude.turn(claude.after(waiting, ask_tools=ASK, answer=answer_to(waiting, True)))
    assert again.outcome is agent.Outcome.NEEDS_APPROVAL
    assert again.question is not None
    assert again.question.id != answer_to(waiting, True).question_id
    assert claude.file("deployed") == "deployed\n"
    claude.quiet(2)


async def test_what_is_not_asked_about_goes_on_beside_the_question(claude: Stage) -> None:
    write = Call("Write", {"file_path": "a.txt", "content": "made"})
    prepared(claude).model.script(Reply((Text("Both."), write, *DEPLOY.parts)))
    await asked(claude)
    assert claude.file("a.txt") == "made"
    claude.quiet(1)


async def test_a_turn_that_is_answered_twice_does_not_make_the_call_twice(claude: Stage) -> None:
    """The worker died after the agent's end: the same answer is given to a session that has moved on."""
    prepared(claude).model.script(DEPLOY, say("Deployed."), say("It is deployed."))
    waiting = await asked(claude)
    request = claude.after(waiting, "Look what is there.", ask_tools=ASK, answer=answer_to(waiting, True))
    await claude.turn(request)
    result = await claude.turn(request)
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "It is deployed.")
    assert claude.file("deployed") == "deployed\n"
    claude.quiet(3)


async def test_an_approved_call_that_was_interrupted_is_not_made_again(claude: Stage) -> None:
    """Its outcome is unknown: the agent is told to look."""
    stage = prepared(claude)
    (stage.host.worktree / "deploy").write_text("#!/bin/sh\necho deployed >> deployed; exec sleep 60\n")
    stage.model.script(DEPLOY)
    waiting = await asked(stage)
    request = stage.after(waiting, "Look what is there.", ask_tools=ASK, answer=answer_to(waiting, True))
    running = await process.ConfinedProcess.start(stage.spec(request))
    await file_at(stage.host.worktree / "deployed")
    assert running.program is not None
    os.kill(running.program.pid, signal.SIGKILL)
    await running.close(0)

    stage.model.script(say("I looked, it is deployed."))
    resumed = await stage.play(request)
    assert resumed.verdict.outcome is agent.Outcome.FINISHED
    assert stage.file("deployed") == "deployed\n"
    stage.quiet(2)


async def test_a_subagent_cannot_ask_and_is_refused(claude: Stage) -> None:
    """A call of a subagent that were held back would end the whole process with its conversation lost."""
    stage = prepared(claude)
    prompt = "subagent-marker: deploy."
    stage.model.script(model_server.call("Task", description="d", prompt=prompt, subagent_type="general-purpose"))
    stage.model.script(DEPLOY, say("I was refused."), say("It may not."), marker="subagent-marker")
    result = await stage.turn(stage.request("Deploy.", ask_tools=ASK))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "It may not.")
    assert result.denials == (() if stage.cli == clis.CLAUDE_OLD else ("Bash",))  # the old release tells its own alone
    assert stage.file("deployed") is None
    assert stage.file("tried") is None
    stage.quiet(4)


async def test_a_question_works_inside_the_sandbox(claude: Stage) -> None:
    """The hook is a program of ours: it has to be there, and to start."""
    prepared(claude).model.script(DEPLOY, say("Deployed."))
    waiting = await confined(claude, claude.request("Deploy.", ask_tools=ASK))
    assert waiting.outcome is agent.Outcome.NEEDS_APPROVAL
    assert claude.file("deployed") is None
    result = await confined(claude, claude.after(waiting, ask_tools=ASK, answer=answer_to(waiting, True)))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Deployed.")
    assert claude.file("deployed") == "deployed\n"
    claude.quiet(2)


async def test_codex_plans_first_and_works_after_a_yes(codex: Stage) -> None:
    codex.model.script(codex.shell("echo early > early.txt; true"), say("I will write a.txt."))
    waiting = await codex.turn(codex.request("Make a.txt.", ask_tools=("exec_command",)))
    assert waiting.outcome is agent.Outcome.NEEDS_APPROVAL
    assert waiting.question is not None
    assert (waiting.question.tool, waiting.question.text) == ("plan", "I will write a.txt.")
    assert codex.file("early.txt") is None, "the plan phase wrote"
    codex.quiet_for_now(2)

    codex.model.script(codex.write("a.txt", "made"), say("Done."))
    word = answer_to(waiting, True, "go ahead")
    result = await codex.turn(codex.after(waiting, ask_tools=("exec_command",), answer=word))
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
    assert codex.file("a.txt") == "made"
    assert "Your plan was approved by kim" in codex.model.requests[-1].text
    codex.quiet(4)


async def test_codex_plans_again_after_a_no(codex: Stage) -> None:
    codex.model.script(say("I will delete all."), say("I will delete nothing."))
    waiting = await codex.turn(codex.request("Clean up.", ask_tools=("exec_command",)))
    again = await codex.turn(
        codex.after(waiting, ask_tools=("exec_command",), answer=answer_to(waiting, False, "too much"))
    )
    assert again.outcome is agent.Outcome.NEEDS_APPROVAL
    assert again.question is not None
    assert waiting.question is not None
    assert again.question.id != waiting.question.id
    assert again.question.text == "I will delete nothing."
    assert "kim says: too much" in codex.model.requests[-1].text
    codex.quiet(2)
