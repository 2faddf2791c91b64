"""A successful process of every backend, line by line as its CLI prints it, and which line is the sign of success.

The signs are told apart here by their own rules, not by the parsers', so that a test can hold the two against each
other.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SESSION = "0b1c7a52-1111-4222-8333-944455556666"
OPENCODE_SESSION = "ses_e06e3788bffend4AduybsbeGkW"


@dataclass(frozen=True)
class Recorded:
    """One process. `is_success` looks at one JSON value: is this, alone, a statement that the turn is done?"""

    lines: tuple[bytes, ...]
    is_success: Callable[[dict[str, Any]], bool]
    session: str = SESSION


def _lines(*values: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(json.dumps(value).encode() for value in values)


def _claude(**value: Any) -> dict[str, Any]:
    return {"session_id": SESSION, "uuid": "u", **value}


CLAUDE = Recorded(
    _lines(
        _claude(type="system", subtype="init", cwd="/w", claude_code_version="2.1.328", model="m"),
        _claude(type="assistant", message={"id": "m1", "content": [{"type": "text", "text": "Looking."}]}),
        _claude(type="system", subtype="api_retry", attempt=1, retry_delay_ms=500, error="rate_limit"),
        _claude(type="assistant", message={"id": "m1", "content": [{"type": "tool_use", "id": "t", "name": "Edit"}]}),
        _claude(type="user", message={"content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}),
        _claude(
            type="result",
            subtype="success",
            is_error=False,
            terminal_reason="completed",
            result="Done.",
            total_cost_usd=0.25,
            usage={"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 3},
            permission_denials=[],
        ),
    ),
    lambda value: value.get("type") == "result" and value.get("is_error") is False,
)
CODEX = Recorded(
    _lines(
        {"type": "thread.started", "thread_id": SESSION},
        {"type": "turn.started"},
        {"type": "error", "message": "Reconnecting... 1/2"},
        {"type": "item.started", "item": {"id": "i0", "type": "command_execution", "command": "ls"}},
        {"type": "item.completed", "item": {"id": "i0", "type": "command_execution", "exit_code": 0}},
        {"type": "item.completed", "item": {"id": "i1", "type": "agent_message", "text": "Done."}},
        {"type": "turn.completed", "usage": {"input_tokens": 10, "cached_input_tokens": 5, "output_tokens": 3}},
    ),
    lambda value: value.get("type") == "turn.completed",
)
GEMINI = Recorded(
    _lines(
        {"type": "init", "session_id": SESSION, "model": "gemini-2.5-flash"},
        {"type": "message", "role": "user", "content": "Fix it"},
        {"type": "tool_use", "tool_name": "write_file", "tool_id": "write_file__1", "parameters": {}},
        {"type": "tool_result", "tool_id": "write_file__1", "status": "success"},
        {"type": "message", "role": "assistant", "content": "Do", "delta": True},
        {"type": "message", "role": "assistant", "content": "ne.", "delta": True},
        {
            "type": "result",
            "status": "success",
            "stats": {"input_tokens": 300, "input": 180, "cached": 120, "output_tokens": 30},
        },
    ),
    lambda value: value.get("type") == "result" and value.get("status") == "success",
)
KIMI = Recorded(
    _lines(
        {"role": "meta", "type": "system.version", "version": "2.1.0"},
        {"role": "assistant", "tool_calls": [{"type": "function", "id": "c", "function": {"name": "Write"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "Wrote 6 bytes to a.txt"},
        {"role": "assistant", "content": "Done."},
        {"role": "meta", "type": "session.resume_hint", "session_id": "session_1", "command": "kimi -r session_1"},
    ),
    lambda value: value.get("role") == "meta" and value.get("type") == "session.resume_hint",
)


def _opencode(kind: str, **part: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": 1, "sessionID": OPENCODE_SESSION, "part": part}


_TOKENS = {"input": 100, "output": 20, "reasoning": 0, "cache": {"write": 0, "read": 40}}
OPENCODE = Recorded(
    _lines(
        _opencode("step_start", type="step-start"),
        _opencode("tool_use", tool="write", callID="c", state={"status": "completed", "input": {}, "output": "ok"}),
        _opencode("step_finish", reason="tool-calls", tokens=_TOKENS, cost=0.5),
        _opencode("step_start", type="step-start"),
        _opencode("text", text="Done."),
        _opencode("step_finish", reason="stop", tokens=_TOKENS, cost=0.25),
    ),
    lambda value: (
        value.get("type") == "step_finish"
        and isinstance(value.get("part"), dict)
        and value["part"].get("reason") == "stop"
    ),
    OPENCODE_SESSION,
)
SCRIPTED = Recorded(
    _lines(
        {"scripted": True, "type": "session", "session_id": SESSION},
        {"scripted": True, "type": "tool", "tool": "write"},
        {"scripted": True, "type": "cost", "cost_usd": 0.5},
        {"scripted": True, "type": "text", "text": "Done."},
        {"scripted": True, "type": "result", "outcome": "finished", "text": "Done.", "session_id": SESSION},
    ),
    lambda value: (
        value.get("scripted") is True and value.get("type") == "result" and value.get("outcome") == "finished"
    ),
)
RECORDED = {
    "claude": CLAUDE,
    "codex": CODEX,
    "gemini": GEMINI,
    "kimi": KIMI,
    "opencode": OPENCODE,
    "scripted": SCRIPTED,
}
