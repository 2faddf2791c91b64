"""Codex's JSON stream (`codex exec --json`): one line to events, and the events of a process to a verdict.

There is no summary object: the last message is the answer, `turn.completed` the only sign of success. Errors come as
sentences, so their class is read from words seen on 0.169.0; words that are not known are an error that may pass.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from domain import agent
from integrations.agent import port, streams, verdicts

_ENDED_BY_SIGNAL: Final = frozenset({None, 129, 130, 143})
_RECONNECTING: Final = re.compile(r"^Reconnecting\.\.\.")
_CONTEXT: Final = "context"
_CLASSES: Final = (
    (re.compile(r"context window|context_length", re.I), _CONTEXT),
    (re.compile(r"usage limit", re.I), "usage_limit"),
    (re.compile(r"quota exceeded|insufficient_quota|billing", re.I), "billing_error"),
    (re.compile(r"status:? 429|rate.limit", re.I), "rate_limit"),
    (re.compile(r"at capacity|overloaded", re.I), "overloaded"),
    (re.compile(r"status:? 401|not logged in|invalid.api.key", re.I), "authentication_failed"),
    (re.compile(r"status:? 403", re.I), "permission_error"),
    (re.compile(r"high demand|status:? 5\d\d", re.I), "server_error"),
    (re.compile(r"model_not_found|does not exist", re.I), "model_not_found"),
    (re.compile(r"invalid_request|status:? 4\d\d", re.I), "invalid_request"),
    (re.compile(r"stream disconnected|connection failed|timed? ?out", re.I), "connection"),
)
"""First match counts; the words of the provider stand in some of them, so the surest signs come first."""
_FINAL: Final = frozenset(
    {"billing_error", "authentication_failed", "permission_error", "invalid_request", "model_not_found"}
)
_AGAIN_IN: Final = re.compile(r"try again in ((?:\d+ (?:day|hour|minute|second)s?[ ,]*(?:and )?)+)", re.I)
_SPAN: Final = re.compile(r"(\d+) (day|hour|minute|second)", re.I)
_SECONDS: Final = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_NOT_ALLOWED: Final = re.compile(r"reject|denied|not approved|cancell?ed|not permitted", re.I)
_NO_SANDBOX: Final = re.compile(r"\Abwrap: |\A[^\n]{0,200}codex-linux-sandbox")
"""Codex's own sandbox could not be built, so the command did not run."""
_TOOLS: Final = {"command_execution": "exec_command", "file_change": "apply_patch", "web_search": "web_search"}


def parse(line: bytes) -> list[agent.Event]:
    """What one line says; empty for a line that is no JSON object, such as one cut off by a kill."""
    value = streams.json_object(line)
    if value is None:
        return []
    match streams.text_at(value, "type"):
        case "thread.started":
            return [agent.Event(kind=agent.EventKind.SESSION, session_id=streams.text_at(value, "thread_id"))]
        case "item.started":
            return [_tool(_item(value))]
        case "item.completed":
            item = _item(value)
            started = [_tool(item)] if streams.text_at(item, "type") == "file_change" else []  # has no start of its own
            return [*started, _completed(item)]
        case "error":
            return [_error(streams.text_at(value, "message"))]
        case "turn.completed":
            return [agent.Event(kind=agent.EventKind.RESULT, outcome=agent.Outcome.FINISHED, usage=_usage(value))]
        case "turn.failed":
            return [_failed(value)]
        case _:
            return [agent.Event(kind=agent.EventKind.OTHER)]


def fold(events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
    """The verdict on a process: its last result line, and its exit code (None when a signal ended it)."""
    last = next((event for event in reversed(events) if event.kind is agent.EventKind.RESULT), None)
    said = next((event.text for event in reversed(events) if event.kind is agent.EventKind.TEXT), "")
    outcome = _ended(verdicts.terminal(events, last), exit_code)
    failed = outcome in {agent.Outcome.API_ERROR, agent.Outcome.LIMIT}
    return port.Verdict(
        outcome,
        summary=(last.text if last and failed else "") or said,
        reason=last.reason if last and failed else "",
        denials=verdicts.denials(events),
        retryable=outcome is agent.Outcome.API_ERROR and last is not None and last.retryable,
        retry_after_seconds=last.retry_after_seconds if last and failed else None,
        usage=next((event.usage for event in reversed(events) if event.usage is not None), None),
        usage_is_of_session=True,
        structured=said if outcome is agent.Outcome.FINISHED else "",
    )


def _ended(last: agent.Event | None, exit_code: int | None) -> agent.Outcome:
    by_signal = exit_code in _ENDED_BY_SIGNAL
    if last is None or last.outcome is None:
        if exit_code == 0:
            return agent.Outcome.PROTOCOL_ERROR
        return agent.Outcome.INTERRUPTED if by_signal else agent.Outcome.CRASHED
    if last.outcome is agent.Outcome.FINISHED and exit_code != 0:
        return agent.Outcome.INTERRUPTED if by_signal else agent.Outcome.CRASHED
    return last.outcome


def _item(value: dict[str, Any]) -> dict[str, Any]:
    item = value.get("item")
    return item if streams.is_object(item) else {}


def _tool(item: dict[str, Any]) -> agent.Event:
    kind = streams.text_at(item, "type")
    name = _mcp_name(item) if kind == "mcp_tool_call" else _TOOLS.get(kind)
    if name is None:
        return agent.Event(kind=agent.EventKind.OTHER)
    return agent.Event(kind=agent.EventKind.TOOL, text=name, tool_id=streams.text_at(item, "id"))


def _completed(item: dict[str, Any]) -> agent.Event:
    kind, call = streams.text_at(item, "type"), streams.text_at(item, "id")
    if kind == "agent_message":
        return agent.Event(kind=agent.EventKind.TEXT, text=streams.text_at(item, "text"))
    if kind == "mcp_tool_call":
        error = item.get("error")
        words = streams.text_at(error, "message") if streams.is_object(error) else ""
        denied = streams.text_at(item, "status") == "failed" and bool(_NOT_ALLOWED.search(words))
        denials = (_mcp_name(item),) if denied else ()
        return agent.Event(kind=agent.EventKind.TOOL_RESULT, tool_id=call, denials=denials)
    if kind not in _TOOLS:
        return agent.Event(kind=agent.EventKind.OTHER)
    unable = kind == "command_execution" and bool(_NO_SANDBOX.search(streams.text_at(item, "aggregated_output")[:400]))
    return agent.Event(kind=agent.EventKind.TOOL_RESULT, tool_id=call, denials=(_TOOLS[kind],) if unable else ())


def _mcp_name(item: dict[str, Any]) -> str:
    return f"mcp__{streams.text_at(item, 'server')}__{streams.text_at(item, 'tool')}"


def _error(words: str) -> agent.Event:
    again = bool(_RECONNECTING.match(words))
    kind = agent.EventKind.RETRY if again else agent.EventKind.ERROR
    reason = _reason(words)
    return agent.Event(kind=kind, text=words, reason=reason, retryable=again or reason not in _FINAL)


def _failed(value: dict[str, Any]) -> agent.Event:
    error = value.get("error")
    words = streams.text_at(error, "message") if streams.is_object(error) else ""
    reason = _reason(words)
    return agent.Event(
        kind=agent.EventKind.RESULT,
        outcome=agent.Outcome.LIMIT if reason == _CONTEXT else agent.Outcome.API_ERROR,
        text=words,
        reason=reason,
        retryable=reason not in _FINAL,
        retry_after_seconds=_retry_after(words),
    )


def _reason(words: str) -> str:
    return next((name for pattern, name in _CLASSES if pattern.search(words)), "unknown")


def _retry_after(words: str) -> float | None:
    found = _AGAIN_IN.search(words)
    if found is None:
        return None
    return float(sum(int(count[:9]) * _SECONDS[unit.lower()] for count, unit in _SPAN.findall(found[1])))


def _usage(value: dict[str, Any]) -> agent.Usage | None:
    """Of the whole thread, resumes included. Its input counts what came from the cache as well."""
    facts = value.get("usage")
    if not streams.is_object(facts):
        return None
    read, cached = streams.count_at(facts, "input_tokens"), streams.count_at(facts, "cached_input_tokens")
    output = streams.count_at(facts, "output_tokens")
    fresh = max(0, read - (cached or 0)) if read is not None else None
    return agent.Usage(input_tokens=fresh, cached_tokens=cached, output_tokens=output)
