"""Judges against a real process: a program in the place of the CLI that prints what the CLI prints."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from activities import judge_process, rooms
from domain import errors, review
from integrations.agent import claude, judge, registry, scripted
from sandbox import unconfined

INPUTS = {"title": "T", "body": "B", "diff": "+def f(): pass", "warnings": [], "radius": "", "radius_missing": ""}
RESULT = {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed", "result": ""}

PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
asked = {{"argv": sys.argv[1:], "stdin": sys.stdin.read(), "env": dict(os.environ), "cwd": os.listdir(".")}}
(here / "asked.json").write_text(json.dumps(asked))
sys.stdout.write((here / "answer.json").read_text())
sys.exit(int((here / "code").read_text()))
"""


class Cli:
    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        program = folder / "claude"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "k", "GITHUB_TOKEN": "never"}
        runner = judge_process.ConfinedRunner(self.state, rooms.Confinement(environment, unconfined.Unconfined()))
        self.judge = judge.ClaudeJudge(runner, claude.ClaudeSettings(program=str(program)))

    def answers(self, *, code: int = 0, **result: Any) -> None:
        (self.folder / "answer.json").write_text(json.dumps({**RESULT, **result}))
        (self.folder / "code").write_text(str(code))

    def asked(self) -> dict[str, Any]:
        asked: dict[str, Any] = json.loads((self.folder / "asked.json").read_text())
        return asked


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


async def test_an_answer_becomes_a_model(cli: Cli) -> None:
    cli.answers(structured_output={"summary": "Fine", "blocking": ["a.py:1 crashes"], "unknown": 1})
    found = await cli.judge.ask("review", INPUTS, review.Advice)
    assert found == review.Advice(summary="Fine", blocking=("a.py:1 crashes",))


async def test_a_judge_has_no_tools_no_settings_no_session_and_an_empty_directory(cli: Cli) -> None:
    cli.answers(structured_output={})
    await cli.judge.ask("review", INPUTS, review.Advice)
    asked = cli.asked()
    text = " ".join(asked["argv"])
    for flags in (
        "--disallowedTools Bash,Read",
        "--setting-sources user",
        "--strict-mcp-config",
        "--no-session-persistence",
    ):
        assert flags in text
    assert "+def f(): pass" in asked["stdin"]
    assert "+def f(): pass" not in text
    assert asked["env"]["ANTHROPIC_API_KEY"] == "k"
    assert "GITHUB_TOKEN" not in asked["env"]
    assert asked["cwd"] == []
    assert list((cli.state / "judges").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ({"structured_output": None}, 0, "claude gave none"),
        ({}, 0, "claude gave none"),
        ({"structured_output": {"blocking": 3}}, 0, "is wrong in: blocking"),
        ({"structured_output": {}, "is_error": True}, 1, "ended with api_error"),
        ({"structured_output": {}}, 1, "ended with crashed"),
    ],
)
async def test_no_usable_answer_is_a_failure_never_a_verdict(
    cli: Cli, answer: dict[str, Any], code: int, words: str
) -> None:
    cli.answers(code=code, **answer)
    with pytest.raises(errors.JudgeFailed, match=words):
        await cli.judge.ask("review", INPUTS, review.Advice)


async def test_output_that_is_no_json_is_a_failure(cli: Cli) -> None:
    cli.answers()
    (cli.folder / "answer.json").write_text("Segmentation fault")
    with pytest.raises(errors.JudgeFailed, match="ended with protocol_error"):
        await cli.judge.ask("review", INPUTS, review.Advice)


async def test_no_judge_never_answers() -> None:
    with pytest.raises(errors.JudgeFailed, match="no judge is configured"):
        await judge.NoJudge().ask("review", INPUTS, review.Advice)


async def test_a_scripted_judge_answers_by_its_inputs_alone(tmp_path: Path) -> None:
    cases = [
        {"unless_contains": "def test_", "answer": {"summary": "No test", "blocking": ["add a test"]}},
        {"answer": {"summary": "Good"}},
    ]
    (tmp_path / "s.json").write_text(json.dumps({"judge": {"review": cases, "triage": {"priority": 9}}}))
    asked = judge.ScriptedJudge(scripted.ScriptedSettings(script=tmp_path / "s.json"))
    first = await asked.ask("review", INPUTS, review.Advice, run="issue/a/b/1")
    later = await asked.ask("review", {**INPUTS, "diff": "+def test_f(): ..."}, review.Advice, run="issue/a/b/1")
    assert (first.blocking, later.summary) == (("add a test",), "Good")
    assert await asked.ask("review", INPUTS, review.Advice, run="issue/a/b/1") == first


async def test_a_script_without_an_answer_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    asked = judge.ScriptedJudge(scripted.ScriptedSettings(script=tmp_path / "s.json"))
    with pytest.raises(errors.JudgeFailed, match=r"script s\.json gave none"):
        await asked.ask("review", INPUTS, review.Advice)


async def test_an_unknown_judge_is_refused_with_those_that_exist(cli: Cli) -> None:
    with pytest.raises(
        errors.ConfigurationError, match=r"'oracle', the accepted values are \['claude', 'none', 'scripted'\]"
    ):
        registry.judge_named("oracle", registry.AgentSettings(), cli.judge.runner)


def test_every_entry_of_the_tables_makes_what_it_is_named() -> None:
    made = registry.backends(registry.AgentSettings())
    assert {name: backend.name for name, backend in made.items()} == {name: name for name in registry.BACKENDS}
