import json
import os
from pathlib import Path
from typing import Any

import pytest

from domain import agent, errors
from integrations.agent import gemini, port

SESSION = "0b1c7a52-1111-4222-8333-944455556666"
BACKEND = gemini.GeminiBackend()


def request(worktree: Path, **more: Any) -> agent.TurnRequest:
    facts: dict[str, Any] = {"run": "issue/a/b/1", "prompt": "Fix it", "worktree": str(worktree)}
    return agent.TurnRequest(**{**facts, "session": agent.Session(backend="gemini", id=SESSION), **more})


def fold(*values: dict[str, Any], exit_code: int | None) -> port.Verdict:
    lines = [json.dumps(value).encode() for value in values]
    return BACKEND.fold([event for line in lines for event in BACKEND.parse(line)], exit_code)


START = {"type": "init", "session_id": SESSION, "model": "m"}


def failed(message: str, kind: str = "unknown") -> dict[str, Any]:
    return {"type": "result", "status": "error", "error": {"type": kind, "message": message}, "stats": {}}


def api_error(**error: Any) -> str:
    return f"[API Error: {json.dumps({'error': error})}]"


@pytest.mark.parametrize(
    ("message", "exit_code", "reason", "retryable"),
    [
        (api_error(code=401, status="UNAUTHENTICATED"), 145, "authentication_failed", False),
        (api_error(code=400, message="API key not valid."), 144, "authentication_failed", False),
        (api_error(code=400, message="odd"), 144, "invalid_request", False),
        (api_error(code=403, message="no"), 147, "permission_error", False),
        ("[API Error: slow]\nPlease wait and try again later.", 173, "rate_limit", True),
        ("[API Error: odd]", 173, "rate_limit", True),
        ("[API Error: odd]", 244, "server_error", True),
        (api_error(code=503, message="The model is overloaded."), 247, "overloaded", True),
        ("[API Error: exception TypeError: fetch failed sending request]", 1, "connection", True),
        ("odd", 1, "unknown", True),
    ],
)
def test_a_failure_of_the_provider_has_a_class(message: str, exit_code: int, reason: str, retryable: bool) -> None:
    verdict = fold(START, failed(message), exit_code=exit_code)
    assert (verdict.outcome, verdict.reason, verdict.retryable) == (agent.Outcome.API_ERROR, reason, retryable)
    assert verdict.summary == message


def test_the_provider_says_when_to_ask_again() -> None:
    words = api_error(code=429, status="RESOURCE_EXHAUSTED", details=[{"retryDelay": "34.5s"}])
    verdict = fold(START, failed(words), exit_code=173)
    assert verdict.is_quota
    assert verdict.retry_after_seconds == 34.5


def test_the_turn_limit_and_a_full_context_are_limits() -> None:
    turns = fold(START, failed("Reached max session turns", "FatalTurnLimitedError"), exit_code=53)
    assert (turns.outcome, turns.reason) == (agent.Outcome.LIMIT, "max_turns")
    full = fold(START, failed("The input token count exceeds the maximum number of tokens allowed"), exit_code=144)
    assert (full.outcome, full.reason) == (agent.Outcome.LIMIT, "context")


def test_an_interrupt_is_exit_code_0_without_a_result() -> None:
    assert fold(START, exit_code=0).outcome is agent.Outcome.INTERRUPTED
    assert fold(exit_code=0).outcome is agent.Outcome.PROTOCOL_ERROR
    assert fold(START, exit_code=1).outcome is agent.Outcome.CRASHED
    assert fold(exit_code=41).is_credentials


def test_what_the_approval_mode_forbids_is_a_denial() -> None:
    def refused(tool: str, kind: str) -> dict[str, Any]:
        return {"type": "tool_result", "tool_id": f"{tool}__call_1", "status": "error", "error": {"type": kind}}

    verdict = fold(
        START,
        refused("write_file", "policy_violation"),
        refused("run_shell_command", "tool_not_registered"),
        refused("read_file", "file_not_found"),
        {"type": "result", "status": "success"},
        exit_code=0,
    )
    assert verdict.outcome is agent.Outcome.FINISHED
    assert verdict.denials == ("write_file", "run_shell_command")


@pytest.mark.parametrize(
    ("wanted", "named"),
    [("", "gemini-2.5-pro"), ("opus", "gemini-2.5-pro"), ("auto", "gemini-2.5-pro"), ("gemini-3-pro", "gemini-3-pro")],
)
def test_a_model_is_always_named(tmp_path: Path, wanted: str, named: str) -> None:
    """Without one the CLI asks a router model first."""
    argv = BACKEND.command(request(tmp_path, model=wanted), tmp_path).argv
    assert argv[argv.index("--model") + 1] == named


@pytest.mark.parametrize(
    ("facts", "mode"),
    [
        ({}, "yolo"),
        ({"autonomy": "edit"}, "auto_edit"),
        ({"autonomy": "plan"}, "plan"),
        ({"ask_tools": ("run_shell_command",)}, "plan"),
        ({"ask_tools": ("x",), "answer": {"question_id": "q", "allow": True, "by": "ann"}}, "yolo"),
        ({"ask_tools": ("x",), "answer": {"question_id": "q", "allow": False, "by": "ann"}}, "plan"),
    ],
)
def test_autonomy_is_an_approval_mode(tmp_path: Path, facts: dict[str, Any], mode: str) -> None:
    argv = BACKEND.command(request(tmp_path, **facts), tmp_path).argv
    assert argv[argv.index("--approval-mode") + 1] == mode


def test_the_settings_are_written_anew_and_through_no_link(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    outside.mkdir()
    (outside / "settings.json").write_text("kept")
    home.mkdir()
    (home / ".gemini").symlink_to(outside)
    BACKEND.command(request(tmp_path), home)
    assert (outside / "settings.json").read_text() == "kept"
    (home / ".gemini" / "settings.json").write_text('{"security": {}}')
    BACKEND.command(request(tmp_path, limits={"model_turns": 7}), home)
    settings = json.loads((home / ".gemini" / "settings.json").read_text())
    assert settings["security"]["auth"]["selectedType"] == "gemini-api-key"
    assert settings["hooksConfig"] == {"enabled": False}
    assert settings["model"] == {"maxSessionTurns": 7}


def test_trust_is_by_policy_and_never_for_an_environment_file(tmp_path: Path) -> None:
    plain = BACKEND.command(request(tmp_path), tmp_path)
    assert "--skip-trust" in plain.argv
    assert "GEMINI_CLI_TRUST_WORKSPACE" not in plain.env
    (tmp_path / "w" / ".gemini").mkdir(parents=True)
    (tmp_path / "w" / ".gemini" / ".env").symlink_to("nowhere")
    with pytest.raises(errors.ConfigurationError, match=r"\.gemini/\.env"):
        BACKEND.command(request(tmp_path / "w"), tmp_path / "home")
    trusted = BACKEND.command(request(tmp_path / "w", trust_repository_settings=True), tmp_path / "home")
    assert trusted.env["GEMINI_CLI_TRUST_WORKSPACE"] == "true"


def test_the_address_of_the_model_is_always_ours(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert BACKEND.command(request(tmp_path), home).env["GOOGLE_GEMINI_BASE_URL"].startswith("https://")
    access = port.ModelAccess("http://127.0.0.1:1/gemini", "placeholder")
    env = BACKEND.command(request(tmp_path), home, access=access).env
    assert (env["GOOGLE_GEMINI_BASE_URL"], env["GEMINI_API_KEY"]) == ("http://127.0.0.1:1/gemini", "placeholder")


def test_the_conversation_is_found_by_its_whole_id(tmp_path: Path) -> None:
    chats = tmp_path / ".gemini" / "tmp" / "repo" / "chats"
    chats.mkdir(parents=True)
    other = SESSION[:8] + "-9999-4222-8333-944455556666"
    (chats / f"session-2026-01-01T00-00-{SESSION[:8]}.jsonl").write_text(json.dumps({"sessionId": SESSION}))
    assert BACKEND.transcript(tmp_path, agent.Session(backend="gemini", id=SESSION)) is not None
    assert BACKEND.transcript(tmp_path, agent.Session(backend="gemini", id=other)) is None
    assert BACKEND.transcript(tmp_path, agent.Session(backend="gemini", id="../../x")) is None


def test_a_host_without_the_program_or_a_key_says_what_is_missing(tmp_path: Path) -> None:
    assert "not in the PATH" in BACKEND.discover({"PATH": str(tmp_path)}).why_not
    program = tmp_path / "gemini"
    program.write_text("#!/bin/sh\ncase $1 in --version) echo 0.61.0;; *) echo '--output-format --resume' ;; esac\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert "GEMINI_API_KEY" in BACKEND.discover({"PATH": path}).why_not
    found = BACKEND.discover({"PATH": path, "GEMINI_API_KEY": "k"})
    assert (found.ready, found.version) == (False, "0.61.0")
    assert "does not know --session-id, --approval-mode, --skip-trust" in found.why_not
