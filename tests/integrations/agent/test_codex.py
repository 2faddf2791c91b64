import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from domain import agent
from integrations.agent import codex, port

THREAD = "01a1f91b-b347-7690-924f-f808637272ae"
BACKEND = codex.CodexBackend()
REQUEST = agent.TurnRequest(
    run="issue/a/b/1",
    prompt="Fix it",
    session=agent.Session(backend="codex", id=THREAD),
    worktree="/state/w",
    resume=True,
)


def line(kind: str, **value: Any) -> bytes:
    return json.dumps({"type": kind, **value}).encode()


def item(kind: str, when: str = "completed", **value: Any) -> bytes:
    return line(f"item.{when}", item={"id": "item_1", "type": kind, **value})


START = [line("thread.started", thread_id=THREAD), line("turn.started")]
USAGE = {"input_tokens": 300, "cached_input_tokens": 120, "output_tokens": 40}
DONE = line("turn.completed", usage=USAGE)


def fold(lines: list[bytes], exit_code: int | None, request: agent.TurnRequest | None = None) -> port.Verdict:
    return BACKEND.fold([event for each in lines for event in BACKEND.parse(each)], exit_code, request)


def failed(words: str) -> port.Verdict:
    return fold([*START, line("turn.failed", error={"message": words})], 1)


def configuration(command: port.Command) -> dict[str, Any]:
    settings = [command.argv[n + 1] for n, word in enumerate(command.argv) if word == "-c"]
    return tomllib.loads("\n".join(settings))


@pytest.mark.parametrize(
    ("lines", "exit_code", "outcome"),
    [
        ([DONE], 0, agent.Outcome.FINISHED),
        ([DONE], 1, agent.Outcome.CRASHED),
        ([DONE], 143, agent.Outcome.INTERRUPTED),
        ([DONE], None, agent.Outcome.INTERRUPTED),
        ([], 0, agent.Outcome.PROTOCOL_ERROR),
        ([], 1, agent.Outcome.CRASHED),
        ([], None, agent.Outcome.INTERRUPTED),
        ([line("turn.failed", error={"message": "x"})], 1, agent.Outcome.API_ERROR),
    ],
)
def test_how_a_process_ended_is_read_from_its_last_line_and_its_exit(
    lines: list[bytes], exit_code: int | None, outcome: agent.Outcome
) -> None:
    assert fold([*START, *lines], exit_code).outcome is outcome


@pytest.mark.parametrize(
    ("words", "reason", "retryable", "after"),
    [
        ("exceeded retry limit, last status: 429 Too Many Requests", "rate_limit", True, None),
        ("You've hit your usage limit. Try again in 2 days 3 hours 5 minutes.", "usage_limit", True, 183_900.0),
        ("You\u2019ve hit your usage limit. Try again later.", "usage_limit", True, None),
        ("Quota exceeded. Check your plan and billing details.", "billing_error", False, None),
        ("Selected model is at capacity. Please try a different model.", "overloaded", True, None),
        (
            "We\u2019re currently experiencing high demand, which may cause temporary errors.",
            "server_error",
            True,
            None,
        ),
        ("unexpected status 401 Unauthorized: x, url: http://h/v1/responses", "authentication_failed", False, None),
        ("unexpected status 403 Forbidden: x, url: http://h/v1/responses", "permission_error", False, None),
        ("stream disconnected before completion: Transport error", "connection", True, None),
        ("Connection failed: error sending request", "connection", True, None),
        ('{"error": {"type": "invalid_request_error", "message": "m"}}', "invalid_request", False, None),
        ("something new", "unknown", True, None),
    ],
)
def test_the_class_of_an_error_is_read_from_its_sentence(
    words: str, reason: str, retryable: bool, after: float | None
) -> None:
    verdict = failed(words)
    assert (verdict.outcome, verdict.reason, verdict.retryable) == (agent.Outcome.API_ERROR, reason, retryable)
    assert verdict.retry_after_seconds == after
    assert verdict.summary == words


def test_a_conversation_that_is_full_is_a_limit() -> None:
    verdict = failed("Codex ran out of room in the model's context window. Start a new thread.")
    assert (verdict.outcome, verdict.reason) == (agent.Outcome.LIMIT, "context")


def test_usage_is_of_the_thread_and_what_came_from_a_cache_is_told_apart() -> None:
    verdict = fold([*START, item("agent_message", text="Done."), DONE], 0)
    assert verdict.usage == agent.Usage(input_tokens=180, cached_tokens=120, output_tokens=40)
    assert verdict.usage_is_of_session
    assert verdict.cost_usd is None
    assert verdict.summary == "Done."


def test_a_call_is_in_flight_until_its_result() -> None:
    lines = [
        item("command_execution", "started", command="ls"),
        item("command_execution", command="ls", exit_code=0),
        item("file_change", changes=[]),
        item("mcp_tool_call", "started", server="desk", tool="stamp"),
        item("mcp_tool_call", server="desk", tool="stamp", status="completed"),
    ]
    found = [(event.kind, event.text, event.tool_id) for each in lines for event in BACKEND.parse(each)]
    tool, result = agent.EventKind.TOOL, agent.EventKind.TOOL_RESULT
    assert found == [
        (tool, "exec_command", "item_1"),
        (result, "", "item_1"),
        (tool, "apply_patch", "item_1"),
        (result, "", "item_1"),
        (tool, "mcp__desk__stamp", "item_1"),
        (result, "", "item_1"),
    ]


def test_a_refused_tool_of_a_server_is_told() -> None:
    refused = item(
        "mcp_tool_call", server="desk", tool="stamp", status="failed", error={"message": "user cancelled MCP tool call"}
    )
    assert fold([*START, refused, DONE], 0).denials == ("mcp__desk__stamp",)


def test_a_command_that_its_own_sandbox_kept_from_running_is_told() -> None:
    unable = "bwrap: No permissions to create new namespace, likely because the kernel does not allow it.\n"
    for output, denials in ((unable, ("exec_command",)), ("see bwrap: it works\n", ())):
        ran = item("command_execution", aggregated_output=output, exit_code=1, status="failed")
        assert fold([*START, ran, DONE], 0).denials == denials


def test_a_resumed_process_that_speaks_of_another_thread_is_no_success() -> None:
    other = REQUEST.model_copy(update={"session": agent.Session(backend="codex", id="another")})
    assert fold([*START, DONE], 0, other).reason == "other_session"
    assert fold([*START, DONE], 0, other.model_copy(update={"resume": False})).outcome is agent.Outcome.FINISHED
    assert fold([*START, DONE], 0, REQUEST).outcome is agent.Outcome.FINISHED


def test_a_resumed_turn_says_everything_again_before_the_word_resume(tmp_path: Path) -> None:
    command = BACKEND.command(REQUEST.model_copy(update={"model": "m"}), tmp_path, port.Discovery(path="/opt/codex"))
    argv = list(command.argv)
    assert argv[:3] == ["/opt/codex", "exec", "--json"]
    assert argv[-3:] == ["resume", THREAD, "-"]
    for flags in (
        ["--sandbox", "danger-full-access"],
        ["--disable", "unbounded_connection_retries"],
        ["--model", "m"],
    ):
        at = argv.index(flags[0])
        assert argv[at : at + 2] == flags
        assert at < argv.index("resume")
    assert "--ignore-user-config" in argv
    assert command.env["CODEX_HOME"] == str(tmp_path / ".codex")
    assert command.stdin == b"Fix it"
    assert "Fix it" not in argv


def test_the_configuration_is_toml_whatever_the_values_are(tmp_path: Path) -> None:
    server = agent.McpServer(name="desk", command='a "b"\\c', args=("-x", "ünï\n😀"), env={"K E Y": "v=\x7f"})
    update = {"mcp_servers": (server,), "trust_repository_settings": True, "worktree": '/w/"odd".name'}
    found = configuration(BACKEND.command(REQUEST.model_copy(update=update), tmp_path))
    servers = tomllib.loads((tmp_path / ".codex" / "config.toml").read_text())["mcp_servers"]
    assert servers["desk"] == {
        "command": server.command,
        "args": list(server.args),
        "env": server.env,
        "default_tools_approval_mode": "approve",
    }
    assert found["projects"] == {'/w/"odd".name': {"trust_level": "trusted"}}
    assert found["model_provider"] == "fettle"
    assert found["model_providers"]["fettle"]["wire_api"] == "responses"
    assert found["shell_environment_policy"]["exclude"] == ["OPENAI_API_KEY"]
    assert found["check_for_update_on_startup"] is False


def test_with_a_proxy_the_address_and_the_placeholder_are_its_own(tmp_path: Path) -> None:
    access = port.ModelAccess("http://127.0.0.1:1/model", "placeholder")
    command = BACKEND.command(REQUEST, tmp_path, access=access)
    assert configuration(command)["model_providers"]["fettle"]["base_url"] == "http://127.0.0.1:1/model"
    assert command.env["OPENAI_API_KEY"] == "placeholder"


@pytest.mark.parametrize(
    ("ask", "allow", "sandbox"),
    [
        ((), None, "danger-full-access"),
        (("x",), None, "read-only"),
        (("x",), False, "read-only"),
        (("x",), True, "danger-full-access"),
    ],
)
def test_what_is_asked_about_is_planned_first(
    tmp_path: Path, ask: tuple[str, ...], allow: bool | None, sandbox: str
) -> None:
    answer = None if allow is None else agent.Answer(question_id="q", allow=allow, by="kim", note="careful")
    request = REQUEST.model_copy(update={"ask_tools": ask, "answer": answer})
    command = BACKEND.command(request, tmp_path)
    assert command.argv[command.argv.index("--sandbox") + 1] == sandbox
    text = command.stdin.decode()
    assert ("kim says: careful" in text) is (answer is not None)
    asked = fold([*START, item("agent_message", text="The plan."), DONE], 0, request)
    waits = bool(ask) and allow is not True
    assert asked.outcome is (agent.Outcome.NEEDS_APPROVAL if waits else agent.Outcome.FINISHED)
    if waits:
        assert asked.question == agent.Question(id=f"plan-{THREAD}-1", tool="plan", text="The plan.")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("allow", [False, True])
def test_a_person_s_word_on_a_plan_comes_before_what_is_true_now(tmp_path: Path, allow: bool, resume: bool) -> None:
    """A turn that was interrupted is told what it left; a conversation that begins anew, its task."""
    answer = agent.Answer(question_id="q", allow=allow, by="kim")
    more = {"ask_tools": ("x",), "answer": answer, "resume": resume, "prompt": "Last commit: One"}
    text = BACKEND.command(REQUEST.model_copy(update=more), tmp_path).stdin.decode()
    assert text.startswith(f"Your plan was {'' if allow else 'not '}approved by kim.")
    assert text.endswith("\n\nLast commit: One")


def test_a_transcript_is_found_by_a_whole_id_and_never_through_a_link(tmp_path: Path) -> None:
    folder = tmp_path / ".codex" / "sessions" / "2026" / "11" / "20"
    file = folder / f"rollout-2026-11-20T13-18-24-{THREAD}.jsonl"
    assert BACKEND.transcript(tmp_path, REQUEST.session) is None
    folder.mkdir(parents=True)
    secret = tmp_path.parent / "secret"
    secret.write_text("s")
    file.symlink_to(secret)
    assert BACKEND.transcript(tmp_path, REQUEST.session) is None
    file.unlink()
    file.touch()
    assert BACKEND.session_files(tmp_path, REQUEST.session) == [file]
    for name in ("", "*", f"../{THREAD}", "latest"):
        assert BACKEND.transcript(tmp_path, agent.Session(backend="codex", id=name)) is None


def test_an_appendix_has_a_heading_of_its_own_and_is_said_once(tmp_path: Path) -> None:
    request = REQUEST.model_copy(update={"appendix": "Use tabs.\n"})
    assert BACKEND.command(request, tmp_path).stdin.decode() == (
        "Fix it\n\n## Instructions for this agent\n\nUse tabs.\n"
    )
    again = request.model_copy(update={"continuation": True})
    assert BACKEND.command(again, tmp_path).stdin == b"Fix it"
