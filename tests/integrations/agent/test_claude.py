import json
import os
import time
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


def flag(command: port.Command, name: str) -> str:
    return command.argv[command.argv.index(name) + 1]


def hook_of(command: port.Command) -> tuple[str, str] | None:
    """The matcher and the command of the hook before each call."""
    hooks = json.loads(flag(command, "--settings")).get("hooks")
    return (hooks["PreToolUse"][0]["matcher"], hooks["PreToolUse"][0]["hooks"][0]["command"]) if hooks else None


@pytest.mark.parametrize(
    ("autonomy", "mode", "allowed", "disallowed"),
    [
        (agent.Autonomy.FULL, "bypassPermissions", True, False),
        (agent.Autonomy.EDIT, "acceptEdits", True, False),
        (agent.Autonomy.PLAN, "default", False, True),
    ],
)
def test_autonomy_becomes_flags(
    tmp_path: Path, autonomy: agent.Autonomy, mode: str, allowed: bool, disallowed: bool
) -> None:
    update = {"autonomy": autonomy, "allowed_tools": ("Bash(git *)", "Write"), "mcp_servers": (SERVER,)}
    command = BACKEND.command(REQUEST.model_copy(update=update), tmp_path)
    assert flag(command, "--permission-mode") == mode
    assert ("--disallowedTools" in command.argv) is disallowed
    assert ("--allowedTools" in command.argv) is allowed
    if allowed:
        at = command.argv.index("--allowedTools")
        assert command.argv[at + 1 : at + 4] == ("Bash(git *)", "Write", "mcp__desk")


SERVER = agent.McpServer(name="desk", command="desk", args=("-v",), env={"K": "v"})


def test_a_server_of_the_policy_is_the_only_one(tmp_path: Path) -> None:
    command = BACKEND.command(REQUEST.model_copy(update={"mcp_servers": (SERVER,)}), tmp_path)
    assert json.loads(Path(flag(command, "--mcp-config")).read_text()) == {
        "mcpServers": {"desk": {"command": "desk", "args": ["-v"], "env": {"K": "v"}}}
    }
    assert "--strict-mcp-config" in command.argv


def test_a_trusted_repository_has_its_settings_and_servers(tmp_path: Path) -> None:
    command = BACKEND.command(REQUEST.model_copy(update={"trust_repository_settings": True}), tmp_path)
    assert flag(command, "--setting-sources") == "project,local"
    assert "--strict-mcp-config" not in command.argv
    assert json.loads(flag(command, "--settings")) == {"disableAllHooks": False}
    plain = BACKEND.command(REQUEST, tmp_path)
    assert json.loads(flag(plain, "--settings")) == {"disableAllHooks": True}


def test_the_smaller_budget_counts(tmp_path: Path) -> None:
    backend = claude.ClaudeBackend(claude.ClaudeSettings(max_budget_usd=2))
    for limit, budget in ((None, "2.0"), (0.5, "0.5"), (5.0, "2.0")):
        limits = agent.Limits(cost_usd=limit, model_turns=7)
        command = backend.command(REQUEST.model_copy(update={"limits": limits}), tmp_path)
        assert flag(command, "--max-budget-usd") == budget
        assert flag(command, "--max-turns") == "7"
    assert "--max-budget-usd" not in BACKEND.command(REQUEST, tmp_path).argv


def test_the_hook_is_run_for_the_tools_that_are_asked_about(tmp_path: Path) -> None:
    asked = BACKEND.command(REQUEST.model_copy(update={"ask_tools": ("Bash(git *)", "Write")}), tmp_path)
    found = hook_of(asked)
    assert found is not None
    assert found[0] == "Bash|Write"
    wide = hook_of(BACKEND.command(REQUEST.model_copy(update={"ask_tools": ("mcp__desk__*",)}), tmp_path))
    assert wide is not None
    assert wide[0] == "*"
    assert hook_of(BACKEND.command(REQUEST, tmp_path)) is None


def transcript_of(home: Path, *entries: dict[str, Any]) -> None:
    file = home / ".claude" / "projects" / "-w" / f"{SESSION}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


WAITING = {"type": "attachment", "attachment": {"type": "hook_deferred_tool", "toolUseID": "t1"}}
MENTIONED = {"type": "assistant", "message": {"content": [{"type": "tool_use", "id": "t1", "name": "Bash"}]}}
RESOLVED = {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t1"}]}}


@pytest.mark.parametrize(
    ("entries", "resume", "words"),
    [
        ([MENTIONED, WAITING], True, b""),
        ([MENTIONED, WAITING, RESOLVED], True, b"Fix it"),
        ([MENTIONED], True, b"Fix it"),
        ([], True, b"Fix it"),
        ([MENTIONED, WAITING], False, b"Fix it"),
    ],
    ids=["waits", "resolved", "not-held", "unknown", "afresh"],
)
def test_an_answer_needs_no_words_where_its_call_waits(
    tmp_path: Path, entries: list[dict[str, Any]], resume: bool, words: bytes
) -> None:
    """With words beside it, the CLI would play a second turn; without a call that waits, it refuses to have none."""
    transcript_of(tmp_path, *entries)
    answer = agent.Answer(question_id="t1", allow=True, by="kim")
    request = REQUEST.model_copy(update={"answer": answer, "resume": resume})
    command = BACKEND.command(request, tmp_path)
    assert command.stdin == words
    assert hook_of(command) is not None


def test_a_question_names_the_call(tmp_path: Path) -> None:
    verdict = fold([*START, HELD], 0)
    assert verdict.question == agent.Question(id="t1", tool="Bash", text="git push")


def test_a_call_that_is_too_long_to_be_shown_says_so() -> None:
    """A person allows what they see: the end of a command may be what matters."""
    call = {"id": "t1", "name": "Bash", "input": {"command": "true " * 20_200 + "; rm -rf ."}}
    held = result(terminal_reason="tool_deferred", deferred_tool_use=call)
    question = fold([*START, held], 0).question
    assert question is not None
    assert question.text.endswith("[cut: 1010 more characters]")


def test_a_window_of_a_subscription_says_when_it_opens() -> None:
    opens = time.time() + 900
    used_up = line(type="rate_limit_event", rate_limit_info={"status": "rejected", "resetsAt": opens})
    near = line(type="rate_limit_event", rate_limit_info={"status": "allowed_warning", "resetsAt": opens})
    said = line(type="assistant", error="rate_limit", message={"content": [{"type": "text", "text": "limit"}]})
    end = result(is_error=True, terminal_reason="completed", api_error_status=429)
    verdict = fold([*START, used_up, said, end], 1)
    assert verdict.is_quota
    assert verdict.retry_after_seconds is not None
    assert opens - time.time() <= verdict.retry_after_seconds <= 900
    assert fold([*START, near, said, end], 1).retry_after_seconds is None


@pytest.mark.parametrize(("delay_ms", "after"), [(542.7, None), (32_000, None), (120_000, 120.0)])
def test_the_pace_of_the_clis_own_retries_is_no_word_of_the_provider(delay_ms: float, after: float | None) -> None:
    """It is asked again after a minute, then two, four: not after the half second of the last retry."""
    retry = line(type="system", subtype="api_retry", attempt=3, retry_delay_ms=delay_ms, error="rate_limit")
    said = line(type="assistant", error="rate_limit", message={"content": [{"type": "text", "text": "limit"}]})
    end = result(is_error=True, terminal_reason="api_error", api_error_status=429)
    verdict = fold([*START, retry, said, end], 1)
    assert verdict.is_quota
    assert verdict.retry_after_seconds == after


def test_the_cost_of_a_model_without_a_price_is_unknown() -> None:
    models = {"known": {"costBasis": "list"}, "made-up": {"costBasis": "unknown"}}
    assert fold([result(total_cost_usd=0.5, modelUsage=models)], 0).cost_usd is None
    assert fold([result(total_cost_usd=0.5, modelUsage={"known": {"costBasis": "list"}})], 0).cost_usd == 0.5


def test_usage_tells_what_came_from_a_cache_apart() -> None:
    counted = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 40,
        "cache_read_input_tokens": 500,
        "output_tokens": 7,
    }
    verdict = fold([result(usage=counted)], 0)
    assert verdict.usage == agent.Usage(input_tokens=43, cached_tokens=500, output_tokens=7)
    assert not verdict.usage_is_of_session
    assert fold([result(usage=dict.fromkeys(counted, 0))], 0).usage is None


def test_an_answer_that_does_not_fit_is_no_success() -> None:
    request = REQUEST.model_copy(update={"answer_schema": '{"type": "object", "required": ["a"]}'})
    events = [event for each in [*START, result(structured_output={"b": 1})] for event in BACKEND.parse(each)]
    verdict = BACKEND.fold(events, 0, request)
    assert (verdict.outcome, verdict.reason) == (agent.Outcome.PROTOCOL_ERROR, "schema")
    assert "answer.a is missing" in verdict.summary


def test_a_release_without_the_switches_that_protect_is_not_ready(tmp_path: Path) -> None:
    env = {**fake_claude(tmp_path, "1.0.2", "--settings --session-id"), "ANTHROPIC_API_KEY": "k"}
    found = BACKEND.discover(env)
    assert not found.ready
    assert "1.0.2 and does not know --setting-sources, --strict-mcp-config" in found.why_not


def test_a_major_release_that_was_not_tested_is_ready_and_marked(tmp_path: Path) -> None:
    found = BACKEND.discover({**fake_claude(tmp_path, "3.0.0"), "ANTHROPIC_API_KEY": "k"})
    assert (found.ready, found.capability.verified, found.shown) == (True, False, "3.0.0 (unverified)")


def test_what_a_turn_left_for_the_cli_to_obey_is_gone_before_the_next(tmp_path: Path) -> None:
    config = tmp_path / ".claude"
    (config / "backups").mkdir(parents=True)
    for name in (".claude.json", "settings.json", "settings.local.json", "backups/x"):
        (config / name).write_text("{}")
    transcript_of(tmp_path, RESOLVED)
    BACKEND.prepare(tmp_path)
    assert sorted(path.name for path in config.iterdir()) == ["projects"]
