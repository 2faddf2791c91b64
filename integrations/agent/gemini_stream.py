"""Gemini CLI's JSON stream (`-o stream-json`): one line to events, and the events of a process to a verdict.

Seen on 0.61.0: an interrupted process ends with exit code 0 and without a result line; the exit code of a failed
request is the provider's status modulo 256; a tool that the approval mode forbids is not registered or is denied by
policy, and the process still ends with success; what it has not yet written when it ends is lost, so a result behind
a line that is larger than the pipe may be missing. It prints tokens of this process, and no cost.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from domain import agent
from integrations.agent import answers, port, streams, verdicts

_ENDED_BY_SIGNAL: Final = frozenset({None, 129, 130, 143})
_TURNS: Final = "FatalTurnLimitedError"
_TURNS_EXIT: Final = 53
_LOGIN_EXIT: Final = 41
_REFUSED_TOOLS: Final = frozenset({"policy_violation", "tool_not_registered"})
_API_ERROR: Final = re.compile(r"^\s*\[API Error: (.*)\]", re.DOTALL)
_DELAY: Final = re.compile(r"retry(?:Delay\W+| in )(\d{1,7}(?:\.\d+)?)\s*s", re.I)
_CLASSES: Final = (
    (re.compile(r"api[ _]key[ _](?:not valid|invalid|expired)|UNAUTHENTICATED", re.I), "authentication_failed"),
    (re.compile(r"billing", re.I), "billing_error"),
    (re.compile(r"exceeds the maximum number of tokens|token count", re.I), "context"),
    (re.compile(r"RESOURCE_EXHAUSTED|quota|wait and try again later|rate limit", re.I), "rate_limit"),
    (re.compile(r"overloaded|UNAVAILABLE", re.I), "overloaded"),
    (re.compile(r"fetch failed|ECONN|ETIMEDOUT|socket hang up|network", re.I), "connection"),
)
_STATUSES: Final = {
    400: "invalid_request",
    401: "authentication_failed",
    403: "permission_error",
    404: "model_not_found",
    429: "rate_limit",
    500: "server_error",
    503: "overloaded",
}
_BY_EXIT: Final = {status % 256: reason for status, reason in _STATUSES.items()}
_FINAL: Final = frozenset(
    {"authentication_failed", "billing_error", "permission_error", "invalid_request", "model_not_found"}
)


def parse(line: bytes) -> list[agent.Event]:
    """What one line says; empty for a line that is no JSON object, such as one cut off by a kill."""
    value = streams.json_object(line)
    if value is None:
        return []
    match streams.text_at(value, "type"):
        case "init":
            return [agent.Event(kind=agent.EventKind.SESSION, session_id=streams.text_at(value, "session_id"))]
        case "message" if streams.text_at(value, "role") == "assistant":
            return [agent.Event(kind=agent.EventKind.TEXT, text=streams.text_at(value, "content"))]
        case "tool_use":
            name, call = streams.text_at(value, "tool_name"), streams.text_at(value, "tool_id")
            return [agent.Event(kind=agent.EventKind.TOOL, text=name, tool_id=call)]
        case "tool_result":
            call = streams.text_at(value, "tool_id")
            return [agent.Event(kind=agent.EventKind.TOOL_RESULT, tool_id=call, denials=_denied(value))]
        case "error":
            # Also of severity "error": what ends the process comes again in its result.
            return [agent.Event(kind=agent.EventKind.ERROR, text=streams.text_at(value, "message"))]
        case "result":
            return [_result(value)]
        case _:
            return [agent.Event(kind=agent.EventKind.OTHER)]


def fold(events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
    """The verdict on a process: its last result line, and its exit code (None when a signal ended it)."""
    last = next((event for event in reversed(events) if event.kind is agent.EventKind.RESULT), None)
    said = last_words(events)
    outcome = _ended(events, verdicts.terminal(events, last), exit_code)
    reason = last.reason if last else ""
    if outcome is agent.Outcome.API_ERROR and reason in {"", "unknown"}:
        reason = "authentication_failed" if exit_code == _LOGIN_EXIT else _BY_EXIT.get(exit_code or 0, "unknown")
    failed = outcome in {agent.Outcome.API_ERROR, agent.Outcome.LIMIT}
    return port.Verdict(
        outcome,
        summary=(last.text if last and failed else "") or said,
        reason=reason if failed else "",
        denials=verdicts.denials(events),
        retryable=outcome is agent.Outcome.API_ERROR and reason not in _FINAL,
        retry_after_seconds=last.retry_after_seconds if last and failed else None,
        usage=last.usage if last else None,
        usage_is_of_session=False,
        structured=answers.given(said) if outcome is agent.Outcome.FINISHED else "",
    )


def last_words(events: Sequence[agent.Event]) -> str:
    """What the model said after its last tool; a message comes in pieces."""
    pieces: list[str] = []
    for event in reversed(events):
        if event.kind is agent.EventKind.TEXT:
            pieces.append(event.text)
        elif event.kind is agent.EventKind.TOOL and pieces:
            break
    return "".join(reversed(pieces))


def _ended(events: Sequence[agent.Event], last: agent.Event | None, exit_code: int | None) -> agent.Outcome:
    by_signal = exit_code in _ENDED_BY_SIGNAL
    if last is None or last.outcome is None:
        if exit_code == _LOGIN_EXIT:
            return agent.Outcome.API_ERROR
        if exit_code == _TURNS_EXIT:
            return agent.Outcome.LIMIT
        if exit_code == 0 and not any(event.kind is agent.EventKind.SESSION for event in events):
            return agent.Outcome.PROTOCOL_ERROR
        return agent.Outcome.INTERRUPTED if by_signal or exit_code == 0 else agent.Outcome.CRASHED
    if last.outcome is agent.Outcome.FINISHED and exit_code != 0:
        return agent.Outcome.INTERRUPTED if by_signal else agent.Outcome.CRASHED
    return last.outcome


def _denied(value: dict[str, Any]) -> tuple[str, ...]:
    error = value.get("error")
    if not streams.is_object(error) or streams.text_at(error, "type") not in _REFUSED_TOOLS:
        return ()
    tool, _, _ = streams.text_at(value, "tool_id").partition("__")
    return (tool or "unknown",)


def _result(value: dict[str, Any]) -> agent.Event:
    usage = _usage(value)
    if streams.text_at(value, "status") == "success":
        return agent.Event(
            kind=agent.EventKind.RESULT, outcome=agent.Outcome.FINISHED, usage=usage, usage_is_of_session=False
        )
    error = value.get("error")
    error = error if streams.is_object(error) else {}
    words = streams.text_at(error, "message")
    turns = streams.text_at(error, "type") == _TURNS
    reason = "max_turns" if turns else _reason(words)
    limit = turns or reason == "context"
    delay = _DELAY.search(words)
    return agent.Event(
        kind=agent.EventKind.RESULT,
        outcome=agent.Outcome.LIMIT if limit else agent.Outcome.API_ERROR,
        text=words,
        reason=reason,
        retryable=not limit and reason not in _FINAL,
        retry_after_seconds=float(delay[1]) if delay else None,
        usage=usage,
        usage_is_of_session=False,
    )


def _reason(words: str) -> str:
    """The class of an error: words that say it surely, then the status that the provider's JSON carries."""
    for pattern, name in _CLASSES:
        if pattern.search(words):
            return name
    inner = _API_ERROR.match(words)
    try:
        facts = json.loads(inner[1]) if inner else None
    except (ValueError, RecursionError):
        return "unknown"
    error = facts.get("error") if streams.is_object(facts) else None
    status = streams.count_at(error, "code") if streams.is_object(error) else None
    return _STATUSES.get(status or 0, "unknown")


def _usage(value: dict[str, Any]) -> agent.Usage | None:
    facts = value.get("stats")
    if not streams.is_object(facts):
        return None
    return agent.Usage(
        input_tokens=streams.count_at(facts, "input"),
        cached_tokens=streams.count_at(facts, "cached"),
        output_tokens=streams.count_at(facts, "output_tokens"),
    )
