"""Claude Code's JSON stream: one line to events, and the events of a process to a verdict.

The exit code and the `subtype` of a result each lie alone: an API error ends with subtype `success`, an interrupt with
exit code 0. A process can print several results; the last one counts.
"""

from collections.abc import Sequence
from typing import Any, Final

from domain import agent
from integrations.agent import port, streams

_LIMITS: Final = frozenset({"max_turns", "budget_exhausted", "prompt_too_long"})
_LIMIT_SUBTYPES: Final = frozenset({"error_max_turns", "error_max_budget_usd"})
_RETRYABLE: Final = frozenset({"rate_limit", "server_error", "overloaded", "timeout", "unknown", ""})
_ENDED_BY_SIGNAL: Final = frozenset({None, 129, 130, 143})
"""HUP, INT and TERM, as the CLI reports them itself; None is a signal it could not catch."""


def parse(line: bytes) -> list[agent.Event]:
    """What one line says; empty for a line that is no JSON object, such as one cut off by a kill."""
    value = streams.json_object(line)
    if value is None:
        return []
    match streams.text_at(value, "type"):
        case "system":
            return [_system_event(value)]
        case "assistant":
            return _assistant_events(value)
        case "result":
            return [_result_event(value)]
        case _:
            return [_event(agent.EventKind.OTHER, value)]


def fold(events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
    """The verdict on a process: its last result line, and its exit code (None when a signal ended it)."""
    last = next((event for event in reversed(events) if event.kind is agent.EventKind.RESULT), None)
    error = next((event for event in reversed(events) if event.kind is agent.EventKind.ERROR), None)
    cost = next((event for event in reversed(events) if event.cost_usd is not None), None)
    outcome = _ended(last, exit_code)
    failed = outcome is agent.Outcome.API_ERROR
    reason = ((error.reason if error else "") or (last.reason if last else "")) if failed else ""
    return port.Verdict(
        outcome,
        summary=(last.text if last else "") or _last_words(events),
        reason=reason,
        denials=last.denials if last else (),
        cost_usd=cost.cost_usd if cost else None,
        cost_is_of_session=cost.cost_is_of_session if cost else True,
        retryable=failed and reason in _RETRYABLE,
        retry_after_seconds=error.retry_after_seconds if failed and error else None,
    )


def _ended(last: agent.Event | None, exit_code: int | None) -> agent.Outcome:
    if last is None or last.outcome is None:
        if exit_code == 0:
            return agent.Outcome.PROTOCOL_ERROR
        return agent.Outcome.INTERRUPTED if exit_code in _ENDED_BY_SIGNAL else agent.Outcome.CRASHED
    if last.outcome is agent.Outcome.FINISHED and exit_code != 0:
        return agent.Outcome.INTERRUPTED if exit_code in _ENDED_BY_SIGNAL else agent.Outcome.CRASHED
    return last.outcome


def _event(kind: agent.EventKind, value: dict[str, Any], **more: Any) -> agent.Event:
    return agent.Event(kind=kind, session_id=streams.text_at(value, "session_id"), **more)


def _system_event(value: dict[str, Any]) -> agent.Event:
    match streams.text_at(value, "subtype"):
        case "init":
            return _event(agent.EventKind.SESSION, value, text=streams.text_at(value, "claude_code_version"))
        case "api_retry":
            delay = streams.number_at(value, "retry_delay_ms")
            after = delay / 1000 if delay is not None else None
            reason = streams.text_at(value, "error")
            return _event(agent.EventKind.RETRY, value, reason=reason, retryable=True, retry_after_seconds=after)
        case "permission_denied":
            return _event(agent.EventKind.OTHER, value, denials=(streams.text_at(value, "tool_name") or "unknown",))
        case _:
            return _event(agent.EventKind.OTHER, value)


def _assistant_events(value: dict[str, Any]) -> list[agent.Event]:
    message = value.get("message")
    blocks = streams.objects_at(message, "content") if streams.is_object(message) else []
    text = "\n".join(filter(None, (streams.text_at(block, "text") for block in blocks)))
    if value.get("is_api_error_message") is True:
        overloaded = streams.number_at(value, "api_error_status") == 529
        reason = "overloaded" if overloaded else streams.text_at(value, "error") or "unknown"
        return [_event(agent.EventKind.ERROR, value, text=text, reason=reason, retryable=reason in _RETRYABLE)]
    found = [_event(agent.EventKind.TEXT, value, text=text)] if text else []
    for block in blocks:
        if streams.text_at(block, "type") == "tool_use":
            found.append(_event(agent.EventKind.TOOL, value, text=streams.text_at(block, "name")))
    return found or [_event(agent.EventKind.OTHER, value)]


def _result_event(value: dict[str, Any]) -> agent.Event:
    denied = [
        streams.text_at(each, "tool_name") or "unknown" for each in streams.objects_at(value, "permission_denials")
    ]
    return _event(
        agent.EventKind.RESULT,
        value,
        text=streams.text_at(value, "result") or "\n".join(streams.texts_at(value, "errors")),
        cost_usd=streams.number_at(value, "total_cost_usd"),
        # Only the releases whose total spans resumes also print the difference.
        cost_is_of_session="model_usage_since_last_result" in value,
        outcome=_outcome(value),
        reason=streams.text_at(value, "api_error_type"),
        denials=tuple(dict.fromkeys(denied)),
    )


def _outcome(value: dict[str, Any]) -> agent.Outcome:
    terminal = streams.text_at(value, "terminal_reason")
    subtype = streams.text_at(value, "subtype")
    failed = value.get("is_error")
    if failed is False and terminal in {"", "completed"} and subtype == "success":
        return agent.Outcome.FINISHED
    if terminal in _LIMITS or subtype in _LIMIT_SUBTYPES:
        return agent.Outcome.LIMIT
    if streams.text_at(value, "stop_reason") == "refusal":
        return agent.Outcome.REFUSED
    if terminal == "api_error" or (subtype == "success" and failed is True):
        return agent.Outcome.API_ERROR
    return agent.Outcome.INTERRUPTED if terminal.startswith("aborted") else agent.Outcome.CRASHED


def _last_words(events: Sequence[agent.Event]) -> str:
    kinds = {agent.EventKind.TEXT, agent.EventKind.ERROR}
    return next((event.text for event in reversed(events) if event.kind in kinds and event.text), "")
