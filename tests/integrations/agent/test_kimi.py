import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from domain import agent
from integrations.agent import kimi, port

SESSION = "0b1c7a52-1111-4222-8333-944455556666"
BACKEND = kimi.KimiBackend()


def request(worktree: Path, **more: Any) -> agent.TurnRequest:
    facts: dict[str, Any] = {"run": "issue/a/b/1", "prompt": "Fix it", "worktree": str(worktree)}
    return agent.TurnRequest(**{**facts, "session": agent.Session(backend="kimi", id=SESSION), **more})


def configuration(home: Path) -> dict[str, Any]:
    return tomllib.loads((home / ".kimi-code" / SESSION / "config.toml").read_text())


def fold(*lines: dict[str, Any] | str, exit_code: int | None) -> port.Verdict:
    raw = [(line if isinstance(line, str) else json.dumps(line)).encode() for line in lines]
    return BACKEND.fold([event for line in raw for event in BACKEND.parse(line)], exit_code)


HINT = {"role": "meta", "type": "session.resume_hint", "session_id": "session_x"}


@pytest.mark.parametrize(
    ("said", "outcome", "reason", "retryable"),
    [
        ("provider.auth_error: 401 bad key", agent.Outcome.API_ERROR, "authentication_failed", False),
        ("provider.rate_limit: 429 slow", agent.Outcome.API_ERROR, "rate_limit", True),
        ("provider.overloaded: 529 busy", agent.Outcome.API_ERROR, "overloaded", True),
        ("provider.api_error: 500 oops", agent.Outcome.API_ERROR, "server_error", True),
        ("provider.api_error: 400 odd", agent.Outcome.API_ERROR, "invalid_request", False),
        ("provider.api_error: 402 pay", agent.Outcome.API_ERROR, "billing_error", False),
        ("provider.connection_error: refused", agent.Outcome.API_ERROR, "connection", True),
        ("loop.max_steps_exceeded: Turn exceeded maxSteps=3.", agent.Outcome.LIMIT, "max_turns", False),
        ("context.overflow: too long", agent.Outcome.LIMIT, "context", False),
        ("provider.filtered: no", agent.Outcome.REFUSED, "filtered", False),
        ("No model configured.", agent.Outcome.CRASHED, "unknown", False),
    ],
)
def test_the_sentence_of_an_error_has_a_class(said: str, outcome: agent.Outcome, reason: str, retryable: bool) -> None:
    verdict = fold(f"error: failed to run prompt: {said}", "See log: /x/kimi-code.log", exit_code=1)
    assert (verdict.outcome, verdict.reason, verdict.retryable) == (outcome, reason, retryable)
    assert verdict.summary == said.partition(": ")[2] or said


def test_the_program_that_does_nothing_and_ends_with_success_has_not_finished() -> None:
    """What the last release of the Python program does."""
    assert fold("kimi-cli is no longer maintained.", exit_code=0).outcome is agent.Outcome.PROTOCOL_ERROR


def test_content_comes_as_a_text_or_as_blocks_and_thoughts_are_no_answer() -> None:
    blocks = [{"type": "think", "think": "hm"}, {"type": "text", "text": "Done."}]
    thought = {"role": "assistant", "type": "thinking", "content": "hm, after all"}
    assert fold({"role": "assistant", "content": blocks}, thought, HINT, exit_code=0).summary == "Done."


def test_a_disabled_tool_is_a_denial() -> None:
    refused = {"role": "tool", "content": 'Tool "Bash" is disabled by the active tool policy'}
    other = {"role": "tool", "content": 'Tool "Nope" not found'}
    assert fold(refused, other, HINT, exit_code=0).denials == ("Bash",)


def test_both_streams_of_the_program_share_a_pipe_and_no_shell_stays(tmp_path: Path) -> None:
    """The shell is replaced by the program, so a signal reaches it."""
    program = tmp_path / "kimi program"
    program.write_text("#!/bin/sh\necho out\necho err >&2\necho $PPID; printf '%s|' \"$@\"\n")
    program.chmod(0o755)
    found = port.Discovery(path=str(program))
    command = BACKEND.command(request(tmp_path, prompt="Fix 'it' $(now)"), tmp_path / "home", found)
    done = subprocess.run(command.argv, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert done.stderr == ""
    assert done.stdout.startswith(f"out\nerr\n{os.getpid()}\n")
    assert done.stdout.endswith("--prompt|Fix 'it' $(now)|")


def test_a_sandbox_is_told_of_the_package_behind_the_shell(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "node_modules"
    program = package / "kimi" / "dist" / "main.mjs"
    link = tmp_path / "bin" / "kimi"
    for path in (program, link):
        path.parent.mkdir(parents=True)
    program.write_text("#!/usr/bin/env node\n")
    link.symlink_to(program)
    command = BACKEND.command(request(tmp_path), tmp_path / "home", port.Discovery(path=str(link)))
    assert command.argv[3] == str(program), "what it imports is beside it, and not beside the link"
    assert command.reads[0] == package
    native = BACKEND.command(request(tmp_path), tmp_path / "home", port.Discovery(path="/opt/kimi/bin/kimi"))
    assert native.reads == (Path("/opt/kimi/bin/kimi"),)


def test_every_session_has_a_home_and_the_newest_conversation_in_it_is_resumed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    session = agent.Session(backend="kimi", id=SESSION)
    assert BACKEND.transcript(home, session) is None
    for age, name in ((100, "session_old"), (0, "session_new")):
        wire = home / ".kimi-code" / SESSION / "sessions" / "wd_repo_1" / name / "agents" / "main" / "wire.jsonl"
        wire.parent.mkdir(parents=True)
        wire.write_text("{}")
        os.utime(wire, (1_700_000_000 - age, 1_700_000_000 - age))
    assert BACKEND.transcript(home, session) == wire
    assert BACKEND.transcript(home, agent.Session(backend="kimi", id="../" + SESSION)) is None
    command = BACKEND.command(request(tmp_path, resume=True), home)
    assert command.argv[-2:] == ("--session", "session_new")
    assert command.env["KIMI_CODE_HOME"] == str(home / ".kimi-code" / SESSION)
    assert BACKEND.session_files(home, session) == [wire]


@pytest.mark.parametrize(
    ("resume", "echoed", "outcome"),
    [
        (True, "session_new", agent.Outcome.FINISHED),
        (True, "session_other", agent.Outcome.PROTOCOL_ERROR),
        (False, "session_other", agent.Outcome.FINISHED),
    ],
)
def test_the_conversation_that_was_resumed_is_the_one_that_was_asked_for(
    tmp_path: Path, resume: bool, echoed: str, outcome: agent.Outcome
) -> None:
    wire = tmp_path / ".kimi-code" / SESSION / "sessions" / "wd" / "session_new" / "agents" / "main" / "wire.jsonl"
    wire.parent.mkdir(parents=True)
    wire.write_text("{}")
    asked = request(tmp_path, resume=resume)
    BACKEND.command(asked, tmp_path)
    said = ({"role": "assistant", "content": "Done."}, {**HINT, "session_id": echoed})
    events = [event for line in said for event in BACKEND.parse(json.dumps(line).encode())]
    verdict = BACKEND.fold(events, 0, asked)
    assert verdict.outcome is outcome
    assert ("worked in session_other" in verdict.summary) is (outcome is agent.Outcome.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("facts", "disabled"),
    [
        ({}, set()),
        ({"autonomy": "edit"}, {"Bash"}),
        ({"autonomy": "edit", "allowed_tools": ("Bash(git *)",)}, {"Bash"}),
        ({"autonomy": "edit", "allowed_tools": ("Bash",)}, set()),
        ({"autonomy": "plan"}, {"Bash", "Write", "Edit", "Agent", "mcp__*"}),
        ({"ask_tools": ("Bash",)}, {"Bash", "Write", "Edit", "Agent", "mcp__*"}),
    ],
)
def test_rights_are_tools_that_are_off(tmp_path: Path, facts: dict[str, Any], disabled: set[str]) -> None:
    BACKEND.command(request(tmp_path, **facts), tmp_path)
    off = set(configuration(tmp_path)["tools"]["disabled"])
    assert disabled <= off
    assert bool(disabled) is bool(off)


def test_the_configuration_holds_a_name_of_the_key_and_never_the_key(tmp_path: Path) -> None:
    access = port.ModelAccess('http://127.0.0.1:1/"kimi"', "placeholder")
    command = BACKEND.command(
        request(tmp_path, model="moonshot/k3", limits={"model_turns": 4}), tmp_path, access=access
    )
    found = configuration(tmp_path)
    assert found["providers"]["fettle"] == {
        "type": "kimi",
        "base_url": 'http://127.0.0.1:1/"kimi"',
        "api_key_env": "KIMI_API_KEY",
    }
    assert command.env["KIMI_API_KEY"] == "placeholder"
    assert found["models"]["fettle"]["model"] == "k3"
    assert found["loop_control"]["max_steps_per_turn"] == 4
    BACKEND.command(request(tmp_path, model="opus"), tmp_path)
    assert configuration(tmp_path)["models"]["fettle"]["model"] == "kimi-for-coding"


def test_a_prompt_that_is_too_long_for_an_argument_is_a_file(tmp_path: Path) -> None:
    text = "ü" * 60_000
    command = BACKEND.command(request(tmp_path, prompt=text), tmp_path)
    path = tmp_path / ".kimi-code" / SESSION / "prompt.md"
    assert path.read_text() == text
    assert str(path) in command.argv[command.argv.index("--prompt") + 1]


@pytest.mark.parametrize(
    ("helps", "why"),
    [
        ("kimi-cli is no longer maintained", "the kimi-cli that is no longer maintained: install Kimi Code 2"),
        ("--prompt --print --output-format --session", "the kimi-cli that is no longer maintained"),
        ("--prompt --output-format", "does not know --session"),
    ],
)
def test_a_program_that_cannot_work_is_named(tmp_path: Path, helps: str, why: str) -> None:
    program = tmp_path / "kimi"
    program.write_text(f"#!/bin/sh\ncase $1 in --version) echo 'kimi, version 1.52.0';; *) echo '{helps}' >&2;; esac\n")
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    assert "KIMI_API_KEY" in BACKEND.discover(env).why_not
    found = BACKEND.discover({**env, "KIMI_API_KEY": "k"})
    assert not found.ready
    assert why in found.why_not
    assert not found.capability.verified
