"""Kimi Code's JSON lines (`--output-format stream-json`): one line to events, and a process's events to a verdict.

Seen on 2.1.0: messages by role; the hint how to resume is written after a finished turn only and is the sign of
success; an error is one sentence on stderr (`error: failed to run prompt: provider.rate_limit: ...`), which the adapter
sends to the same pipe. Neither tokens nor cost are printed.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from domain import agent
from integrations.agent import answers, port, streams, verdicts

_ENDED_BY_SIGNAL: Final = frozenset({None, 129, 130, 143})
_FAILED: Final = re.compile(r"^error: (?:failed to run prompt: )?(?:([a-z]+\.[a-z_]+): )?(.*)$")
_STATUS: Final = re.compile(r"^(\d{3})\b")
_DISABLED: Final = re.compile(r'^Tool "([^"]{1,200})" is disabled')
_REASONS: Final = {
    "provider.auth_error": "authentication_failed",
    "auth.login_required": "authentication_failed",
    "auth.token_missing": "authentication_failed",
    "auth.token_unauthorized": "authentication_failed",
    "provider.rate_limit": "rate_limit",
    "provider.overloaded": "overloaded",
    "provider.connection_error": "connection",
    "provider.not_found": "model_not_found",
    "model.not_found": "model_not_found",
    "provider.filtered": "filtered",
    "loop.max_steps_exceeded": "max_turns",
    "context.overflow": "context",
}
_OUTCOMES: Final = {
    "max_turns": agent.Outcome.LIMIT,
    "context": agent.Outcome.LIMIT,
    "filtered": agent.Outcome.REFUSED,
}
_FINAL: Final = frozenset({"authentication_failed", "billing_error", "invalid_request", "model_not_found"})


def parse(line: bytes) -> list[agent.Event]:
    """What one line says; empty for a line that says nothing, such as a warning, or one cut off by a kill."""
    value = streams.json_object(line)
    if value is None:
        return _complaint(line)
    match streams.text_at(value, "role"):
        case "assistant":
            return _assistant(value)
        case "tool":
            disabled = _DISABLED.match(_text(value))
            denials = (disabled[1],) if disabled else ()
            call = streams.text_at(value, "tool_call_id")
            return [agent.Event(kind=agent.EventKind.TOOL_RESULT, tool_id=call, denials=denials)]
        case "meta" if streams.text_at(value, "type") == "session.resume_hint":
            named = streams.text_at(value, "session_id")
            return [agent.Event(kind=agent.EventKind.RESULT, outcome=agent.Outcome.FINISHED, session_id=named)]
        case "meta" if streams.text_at(value, "type") == "system.version":
            return [agent.Event(kind=agent.EventKind.SESSION, text=streams.text_at(value, "version"))]
        case _:
            return [agent.Event(kind=agent.EventKind.OTHER)]


def fold(events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
    """The verdict on a process: its last sign, and its exit code (None when a signal ended it)."""
    ends = (agent.EventKind.RESULT, agent.EventKind.ERROR)
    last = next((event for event in reversed(events) if event.kind in ends), None)
    said = next((event.text for event in reversed(events) if event.kind is agent.EventKind.TEXT), "")
    outcome = _ended(verdicts.terminal(events, last), exit_code)
    failed = last is not None and last.kind is agent.EventKind.ERROR
    return port.Verdict(
        outcome,
        summary=(last.text if last and failed else "") or said,
        reason=last.reason if last and failed else "",
        denials=verdicts.denials(events),
        retryable=outcome is agent.Outcome.API_ERROR and last is not None and last.retryable,
        structured=answers.given(said) if outcome is agent.Outcome.FINISHED else "",
    )


def _ended(last: agent.Event | None, exit_code: int | None) -> agent.Outcome:
    if exit_code in _ENDED_BY_SIGNAL:
        return agent.Outcome.INTERRUPTED
    if last is None or last.outcome is None:
        return agent.Outcome.PROTOCOL_ERROR if exit_code == 0 else agent.Outcome.CRASHED
    if last.outcome is agent.Outcome.FINISHED and exit_code != 0:
        return agent.Outcome.CRASHED
    return last.outcome


def _assistant(value: dict[str, Any]) -> list[agent.Event]:
    if streams.text_at(value, "type") == "thinking":
        return [agent.Event(kind=agent.EventKind.OTHER)]
    text = _text(value)
    found = [agent.Event(kind=agent.EventKind.TEXT, text=text)] if text else []
    for call in streams.objects_at(value, "tool_calls"):
        function = call.get("function")
        name = streams.text_at(function, "name") if streams.is_object(function) else ""
        ident = streams.text_at(call, "id")
        found.append(agent.Event(kind=agent.EventKind.TOOL, text=name or "unknown", tool_id=ident))
    return found or [agent.Event(kind=agent.EventKind.OTHER)]


def _text(value: dict[str, Any]) -> str:
    """Content as one text or as blocks; what the model thought is no text."""
    blocks = [block for block in streams.objects_at(value, "content") if streams.text_at(block, "type") == "text"]
    return streams.text_at(value, "content") or "\n".join(streams.text_at(block, "text") for block in blocks)


def _complaint(line: bytes) -> list[agent.Event]:
    found = _FAILED.match(line.decode("utf-8", "replace").strip())
    if found is None:
        return []
    code, words = found[1] or "", found[2]
    status = _STATUS.match(words)
    reason = _REASONS.get(code) or _by_status(int(status[1]) if status else 0)
    # A sentence without a code is the CLI's own, such as a session that it does not find: no provider failed.
    outcome = _OUTCOMES.get(reason, agent.Outcome.API_ERROR) if code else None
    retryable = outcome is agent.Outcome.API_ERROR and reason not in _FINAL
    return [agent.Event(kind=agent.EventKind.ERROR, text=words, reason=reason, outcome=outcome, retryable=retryable)]


def _by_status(status: int) -> str:
    if status == 402:
        return "billing_error"
    if status >= 500:
        return "server_error"
    return "invalid_request" if status >= 400 else "unknown"
