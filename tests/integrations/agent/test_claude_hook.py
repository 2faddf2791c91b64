"""The program that Claude Code runs before each call, as it is run: a process with JSON on stdin."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integrations.agent import claude_hook

CALL: dict[str, Any] = {
    "tool_name": "Bash",
    "tool_input": {"command": "git push origin"},
    "tool_use_id": "t1",
    "cwd": "/w",
}


def hook(call: object, **config: Any) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-I", "-S", claude_hook.__file__, json.dumps({"ask": [], "answer": None, **config})]
    done = subprocess.run(argv, input=json.dumps(call).encode(), capture_output=True, env={})
    said: dict[str, Any] = json.loads(done.stdout)["hookSpecificOutput"] if done.stdout else {}
    return done.returncode, said


@pytest.mark.parametrize(
    ("pattern", "tool", "given", "matches"),
    [
        ("Bash", "Bash", {"command": "ls"}, True),
        ("Bash", "BashOutput", {}, False),
        ("mcp__deploy__*", "mcp__deploy__run", {}, True),
        ("mcp__deploy__*", "mcp__desk__run", {}, False),
        ("Bash(git push*)", "Bash", {"command": "git push --force"}, True),
        ("Bash(git push*)", "Bash", {"command": "git pull"}, False),
        ("Bash(git push:*)", "Bash", {"command": "git push --force"}, True),
        ("Bash(git push *)", "Bash", {"command": "git push"}, True),
        ("Bash(git push*)", "Bash", {"command": "cd x && git push"}, True),
        ("Bash(git push*)", "Bash", {"command": "true;git push"}, True),
        ("Bash(git push*)", "Bash", {"command": "A=1 sudo git push"}, True),
        ("Bash(git push*)", "Bash", {"command": "sh -c 'git push'"}, True),
        ("Bash(git push*)", "Bash", {"command": "echo $(git push)"}, True),
        ("Bash(git push*)", "Bash", {"command": "(\n  git push\n)"}, True),
        ("Bash(git push*)", "Bash", {"command": "echo git push"}, False),
        ("Write(/etc/*)", "Write", {"file_path": "/etc/passwd"}, True),
        ("Write(/etc/*)", "Write", {"file_path": "../etc/passwd"}, True),
        ("Write(/etc/*)", "Write", {"file_path": "etc/passwd"}, False),
        ("Edit(.github/*)", "Edit", {"file_path": "/w/.github/workflows/ci.yml"}, True),
        ("WebFetch(https://example.org/*)", "WebFetch", {"url": "https://example.org/x"}, True),
        ("", "Bash", {"command": "ls"}, False),
        ("Bash(", "Bash", {"command": "ls"}, False),
    ],
)
def test_a_pattern_is_about_a_call(pattern: str, tool: str, given: dict[str, Any], matches: bool) -> None:
    assert claude_hook.matches(pattern, {"tool_name": tool, "tool_input": given, "cwd": "/w"}) is matches


def test_a_call_that_nobody_asks_about_is_left_to_the_mode() -> None:
    assert hook(CALL, ask=["Write"]) == (0, {})


def test_a_call_that_is_asked_about_is_deferred_and_one_of_a_subagent_refused() -> None:
    code, said = hook(CALL, ask=["Bash(git push*)"])
    assert (code, said["permissionDecision"]) == (0, "defer")
    code, said = hook({**CALL, "agent_id": "a1"}, ask=["Bash(git push*)"])
    assert (code, said["permissionDecision"]) == (0, "deny")


def test_an_approval_lets_its_call_through_once(tmp_path: Path) -> None:
    word = {"id": "t1", "allow": True, "by": "kim", "note": ""}
    more = {"ask": ["Bash"], "answer": word, "begun": str(tmp_path / "answers" / "t1")}
    assert hook(CALL, **more)[1]["permissionDecision"] == "allow"
    code, said = hook(CALL, **more)
    assert (code, said["permissionDecision"]) == (0, "deny")
    assert "its outcome is unknown" in said["permissionDecisionReason"]
    assert hook({**CALL, "tool_use_id": "t2"}, **more)[1]["permissionDecision"] == "defer"


def test_an_approved_call_that_a_lost_host_may_have_made_is_not_made_again(tmp_path: Path) -> None:
    word = {"id": "t1", "allow": True, "by": "kim", "note": "", "unsure": True}
    code, said = hook(CALL, ask=["Bash"], answer=word, begun=str(tmp_path / "t1"))
    assert (code, said["permissionDecision"]) == (0, "deny")
    assert "its outcome is unknown" in said["permissionDecisionReason"]


def test_a_rejection_says_who_and_why(tmp_path: Path) -> None:
    word = {"id": "t1", "allow": False, "by": "kim", "note": "not today"}
    said = hook(CALL, ask=["Bash"], answer=word, begun=str(tmp_path / "t1"))[1]
    assert said["permissionDecision"] == "deny"
    assert said["permissionDecisionReason"] == "kim decided against this call: not today"


@pytest.mark.parametrize("config", [{"ask": None}, {"answer": {"id": "t1"}}, {"ask": [1]}])
def test_a_rule_that_cannot_be_applied_refuses_the_call(config: dict[str, Any]) -> None:
    """Any other failure of a hook would let the call through."""
    assert hook(CALL, **config)[0] == 2


def test_a_call_that_cannot_be_read_is_refused() -> None:
    assert hook([1, 2], ask=["Bash"])[0] == 2
