import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import agent, errors
from integrations.agent import claude, port

SESSION = "0b1c7a52-1111-4222-8333-944455556666"
BACKEND = claude.ClaudeBackend(claude.ClaudeSettings(sandboxed=True))
REQUEST = agent.TurnRequest(
    run="issue/a/b/1",
    prompt="Fix it",
    session=agent.Session(backend="claude", id=SESSION),
    worktree="/state/w",
    model="opus",
)


def line(**value: Any) -> bytes:
    return json.dumps({"session_id": SESSION, "uuid": "u", **value}).encode()


def result(**value: Any) -> bytes:
    whole = {"subtype": "success", "is_error": False, "terminal_reason": "completed", "result": "Done."}
    return line(type="result", **{**whole, **value})


HELD = result(
    terminal_reason="tool_deferred",
    result="",
    deferred_tool_use={"id": "t1", "name": "Bash", "input": {"command": "git push"}},
)
START = [
    line(type="system", subtype="hook_started"),
    line(type="system", subtype="init", cwd="/w", tools=[], claude_code_version="2.1.328", model="m"),
]
WORK = [
    line(type="assistant", message={"id": "m1", "content": [{"type": "text", "text": "Looking."}]}),
    line(type="assistant", message={"content": [{"type": "tool_use", "name": "Edit", "input": {}}]}),
    line(type="user", message={"content": [{"type": "tool_result", "content": "x" * 400_000}]}),
]


def fold(lines: list[bytes], exit_code: int | None) -> port.Verdict:
    return BACKEND.fold([event for each in lines for event in BACKEND.parse(each)], exit_code)


@pytest.mark.parametrize(
    ("last", "exit_code", "outcome"),
    [
        (result(), 0, agent.Outcome.FINISHED),
        (result(terminal_reason=None), 0, agent.Outcome.FINISHED),
        (result(), 1, agent.Outcome.CRASHED),
        (result(), None, agent.Outcome.INTERRUPTED),
        (result(is_error=True, terminal_reason="api_error"), 1, agent.Outcome.API_ERROR),
        (result(is_error=True), 1, agent.Outcome.API_ERROR),
        (result(is_error=True, terminal_reason="api_error", stop_reason="refusal"), 1, agent.Outcome.REFUSED),
        (result(is_error=True, terminal_reason="prompt_too_long"), 1, agent.Outcome.LIMIT),
        (result(subtype="error_max_turns", is_error=True, terminal_reason="max_turns"), 1, agent.Outcome.LIMIT),
        (result(subtype="error_max_budget_usd", is_error=True), 1, agent.Outcome.LIMIT),
        (result(subtype="error_during_execution", is_error=True, terminal_reason=None), 1, agent.Outcome.CRASHED),
        (
            result(subtype="error_during_execution", is_error=True, terminal_reason="aborted_tools"),
            0,
            agent.Outcome.INTERRUPTED,
        ),
        (result(terminal_reason="tool_deferred"), 0, agent.Outcome.PROTOCOL_ERROR),
        (HELD, 0, agent.Outcome.NEEDS_APPROVAL),
        (HELD, 1, agent.Outcome.CRASHED),
        (HELD, None, agent.Outcome.INTERRUPTED),
        (result(subtype="error_max_structured_output_retries", is_error=True), 1, agent.Outcome.PROTOCOL_ERROR),
        (b"", 0, agent.Outcome.PROTOCOL_ERROR),
        (b"", 143, agent.Outcome.INTERRUPTED),
        (b"", None, agent.Outcome.INTERRUPTED),
        (b"", 1, agent.Outcome.CRASHED),
    ],
)
def test_how_a_process_ended_is_read_from_its_last_result_and_its_exit(
    last: bytes, exit_code: int | None, outcome: agent.Outcome
) -> None:
    assert fold([*START, *WORK, last], exit_code).outcome is outcome


def test_of_several_results_the_last_counts() -> None:
    failed = result(is_error=True, terminal_reason="api_error")
    assert fold([*START, result(), *START, failed], 1).outcome is agent.Outcome.API_ERROR
    assert fold([*START, failed, *START, result(result="Second")], 0).summary == "Second"


def test_refused_tools_are_reported_with_a_finished_turn() -> None:
    denials = [{"tool_name": "Bash"}, {"tool_name": "Bash"}, {"tool_name": "Write"}]
    assert fold([*START, result(permission_denials=denials)], 0).denials == ("Bash", "Write")


@pytest.mark.parametrize(
    ("error", "status", "quota", "credentials", "retryable"),
    [
        ("rate_limit", 429, True, False, True),
        ("server_error", 529, True, False, True),
        ("server_error", 500, False, False, True),
        ("authentication_failed", 401, False, True, False),
        ("billing_error", 400, False, True, False),
        ("invalid_request", 400, False, False, False),
    ],
)
def test_an_api_error_says_who_can_mend_it(
    error: str, status: int, quota: bool, credentials: bool, retryable: bool
) -> None:
    message = {"content": [{"type": "text", "text": f"API Error: {status}"}]}
    said = line(type="assistant", is_api_error_message=True, error=error, api_error_status=status, message=message)
    verdict = fold([*START, said, result(is_error=True, terminal_reason="api_error", result="")], 1)
    assert (verdict.is_quota, verdict.is_credentials, verdict.retryable) == (quota, credentials, retryable)
    assert verdict.summary == f"API Error: {status}"


def test_cost_is_of_the_session_where_the_release_says_so() -> None:
    new = fold([result(total_cost_usd=0.5, model_usage_since_last_result={})], 0)
    old = fold([result(total_cost_usd=0.5)], 0)
    none = fold([result(total_cost_usd=float("nan"))], 0)
    assert (new.cost_usd, new.cost_is_of_session) == (0.5, True)
    assert (old.cost_usd, old.cost_is_of_session) == (0.5, False)
    assert none.cost_usd is None


def test_the_kinds_of_events_are_told_apart() -> None:
    kinds = [event.kind for each in [*START, *WORK, result()] for event in BACKEND.parse(each)]
    kind = agent.EventKind
    assert kinds == [kind.OTHER, kind.SESSION, kind.TEXT, kind.TOOL, kind.OTHER, kind.RESULT]


NAMES = """type subtype is_error terminal_reason result errors message content total_cost_usd permission_denials
tool_name session_id error is_api_error_message api_error_status"""
KEYS = st.sampled_from(NAMES.split()) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
TYPED = st.fixed_dictionaries({"type": st.sampled_from(["system", "assistant", "user", "result", "stream_event"])})


@given(
    st.lists(st.binary(max_size=200) | st.dictionaries(KEYS, JSON).map(lambda v: json.dumps(v).encode()), max_size=8)
)
def test_no_line_makes_the_parser_raise(lines: list[bytes]) -> None:
    fold(lines, 0)


@given(st.builds(lambda typed, rest: json.dumps({**rest, **typed}).encode(), TYPED, st.dictionaries(KEYS, JSON)))
def test_no_object_of_a_known_type_makes_the_parser_raise(each: bytes) -> None:
    fold([each], 0)


@given(cut=st.integers(min_value=0), exit_code=st.none() | st.integers(0, 255))
def test_a_stream_cut_before_its_result_is_never_a_success(cut: int, exit_code: int | None) -> None:
    stream = b"\n".join([*START, WORK[0], WORK[1], result()])
    whole = stream[: cut % len(stream)]
    assert fold(whole.split(b"\n"), exit_code).outcome is not agent.Outcome.FINISHED


@given(st.integers(1, 255))
def test_no_other_exit_code_than_zero_is_a_success(exit_code: int) -> None:
    assert fold([*START, result()], exit_code).outcome is not agent.Outcome.FINISHED


def test_a_first_turn_chooses_its_session_and_reads_no_settings_of_the_repository(tmp_path: Path) -> None:
    command = BACKEND.command(REQUEST, tmp_path)
    text = " ".join(command.argv)
    assert f"--session-id {SESSION}" in text
    assert "--resume" not in text
    for flags in (
        "--setting-sources  --strict-mcp-config",
        "--output-format stream-json --verbose",
        "--model opus",
    ):
        assert flags in text
    assert "Fix it" not in text
    assert command.stdin == b"Fix it"
    assert command.env["CLAUDE_CONFIG_DIR"] == str(tmp_path / ".claude")
    assert command.env["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"] == "1"


def test_a_later_turn_resumes_with_every_flag_again(tmp_path: Path) -> None:
    first = BACKEND.command(REQUEST, tmp_path).argv
    later = BACKEND.command(REQUEST.model_copy(update={"resume": True}), tmp_path).argv
    assert [word.replace("--resume", "--session-id") for word in later] == list(first)


def test_a_sandbox_is_declared_only_when_the_operator_says_so(tmp_path: Path) -> None:
    assert BACKEND.command(REQUEST, tmp_path).env["IS_SANDBOX"] == "1"
    assert "IS_SANDBOX" not in claude.ClaudeBackend().command(REQUEST, tmp_path).env


@pytest.mark.parametrize(
    ("resume", "stderr", "corrected"),
    [
        (False, f"Error: Session ID {SESSION} is already in use.", True),
        (True, f"No conversation found with session ID: {SESSION}", False),
        (False, "No conversation found", None),
        (True, "already in use", None),
        (False, "unknown option", None),
    ],
)
def test_the_cli_knows_best_whether_a_session_exists(resume: bool, stderr: str, corrected: bool | None) -> None:
    assert BACKEND.corrected_resume((), stderr, resume=resume) is corrected


def test_an_unknown_session_can_be_told_by_a_result_line_too() -> None:
    said = result(subtype="error_during_execution", is_error=True, result=None, errors=["No conversation found with …"])
    assert BACKEND.corrected_resume(BACKEND.parse(said), "", resume=True) is False


def test_a_transcript_is_found_whatever_the_working_directory_was(tmp_path: Path) -> None:
    session = REQUEST.session
    assert BACKEND.transcript(tmp_path, session) is None
    file = tmp_path / ".claude" / "projects" / "-state-w" / f"{SESSION}.jsonl"
    file.parent.mkdir(parents=True)
    file.touch()
    assert BACKEND.transcript(tmp_path, session) == file
    assert BACKEND.transcript(tmp_path, agent.Session(backend="claude", id="../*")) is None


def test_the_operators_login_is_copied_when_it_is_newer(tmp_path: Path) -> None:
    login, home = tmp_path / "login.json", tmp_path / "home"
    login.write_text("old")
    backend = claude.ClaudeBackend(claude.ClaudeSettings(credentials_file=login))
    backend.prepare(home)
    copy = home / ".claude" / ".credentials.json"
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("old", 0o600)
    copy.write_text("refreshed by the agent")
    os.utime(copy, ns=(login.stat().st_atime_ns, login.stat().st_mtime_ns + 10**9))
    backend.prepare(home)
    assert copy.read_text() == "refreshed by the agent"
    login.write_text("new login")
    os.utime(login, ns=(0, copy.stat().st_mtime_ns + 10**9))
    backend.prepare(home)
    assert copy.read_text() == "new login"


def test_a_link_in_the_agents_home_does_not_lead_the_login_elsewhere(tmp_path: Path) -> None:
    login, victim, home = tmp_path / "login.json", tmp_path / "victim", tmp_path / "home"
    login.write_text("secret")
    victim.write_text("untouched")
    (home / ".claude").mkdir(parents=True)
    (home / ".claude" / ".credentials.json").symlink_to(victim)
    claude.ClaudeBackend(claude.ClaudeSettings(credentials_file=login)).prepare(home)
    assert victim.read_text() == "untouched"
    assert not (home / ".claude" / ".credentials.json").is_symlink()


def test_a_missing_login_file_is_named(tmp_path: Path) -> None:
    backend = claude.ClaudeBackend(claude.ClaudeSettings(credentials_file=tmp_path / "none.json"))
    with pytest.raises(errors.AgentUnavailable, match=r"^claude_credentials_file is .*none\.json, it cannot be copied"):
        backend.prepare(tmp_path / "home")


def fake_claude(folder: Path, version: str = "2.1.328", said: str = "") -> dict[str, str]:
    program = folder / "claude"
    switches = "--setting-sources --strict-mcp-config --settings --session-id --json-schema"
    program.write_text(f"#!/bin/sh\necho '{version} (Claude Code)'\necho '{said or switches}'\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_discovery_says_what_is_missing_one_thing_at_a_time(tmp_path: Path) -> None:
    assert "not in the PATH" in BACKEND.discover({"PATH": str(tmp_path)}).why_not
    env = fake_claude(tmp_path)
    assert "no login: set ANTHROPIC_API_KEY, or FETTLE_CLAUDE_CREDENTIALS_FILE" in BACKEND.discover(env).why_not
    found = BACKEND.discover({**env, "ANTHROPIC_API_KEY": "k"})
    assert (found.ready, found.version, found.why_not) == (True, "2.1.328", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="the CLI refuses its bypass mode to root alone")
def test_discovery_refuses_root_outside_a_sandbox(tmp_path: Path) -> None:
    env = {**fake_claude(tmp_path), "ANTHROPIC_API_KEY": "k"}
    found = claude.ClaudeBackend().discover(env)
    assert not found.ready
    assert "as root" in found.why_not
    assert "FETTLE_CLAUDE_SANDBOXED=true" in found.why_not
