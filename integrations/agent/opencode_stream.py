"""opencode's JSON stream (`run --format json`): one line to events, and the events of a process to a verdict.

Seen on 1.18.33: there is no result line, a last step that finished with `stop` is the only sign of success; a call that
would have to be asked about is rejected and ends the process with exit code 0 after an unfinished step; a rule that
denies a call lets the model go on. Tokens and cost are of single steps, and a cost of 0 is a model without a price.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from domain import agent
from integrations.agent import answers, port, streams, verdicts

PERMISSION: Final = "permission"
"""The reason of a turn that ended because a call was rejected."""
_ENDED_BY_SIGNAL: Final = frozenset({None, 129, 130, 143})
_REJECTED: Final = re.compile(r"rejected permission|rule which prevents|unavailable tool", re.I)
_STOPPED: Final = "stop"
_CUT: Final = "length"
_COUNTS: Final = ("input", "cached", "output")
_STATUSES: Final = {
    400: "invalid_request",
    401: "authentication_failed",
    402: "billing_error",
    403: "permission_error",
    404: "model_not_found",
    429: "rate_limit",
    503: "overloaded",
    529: "overloaded",
}
_NAMES: Final = {
    "ProviderAuthError": "authentication_failed",
    "ContextOverflowError": "context",
    "MessageOutputLengthError": "context",
    "MessageAbortedError": "aborted",
    "ProviderModelNotFoundError": "model_not_found",
}
_FINAL: Final = frozenset(
    {"authentication_failed", "billing_error", "permission_error", "invalid_request", "model_not_found"}
)


def parse(line: bytes) -> list[agent.Event]:
    """What one line says; empty for a line that is no JSON object, such as one cut off by a kill."""
    value = streams.json_object(line)
    if value is None:
        return []
    part = value.get("part")
    part = part if streams.is_object(part) else {}
    match streams.text_at(value, "type"):
        case "step_start":
            return [_event(agent.EventKind.SESSION, value)]
        case "text":
            return [_event(agent.EventKind.TEXT, value, text=streams.text_at(part, "text"))]
        case "tool_use":
            return [_tool(value, part)]
        case "step_finish":
            return [_step(value, part)]
        case "error":
            return [_error(value)]
        case _:
            return [_event(agent.EventKind.OTHER, value)]


def fold(events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
    """The verdict on a process: how its last step ended, and its exit code (None when a signal ended it)."""
    ends = (agent.EventKind.RESULT, agent.EventKind.ERROR, agent.EventKind.COST)
    last = next((event for event in reversed(events) if event.kind in ends), None)
    said = next((event.text for event in reversed(events) if event.kind is agent.EventKind.TEXT and event.text), "")
    denials = verdicts.denials(events)
    outcome = _ended(events, last, exit_code, rejected=bool(denials))
    failed = outcome in {agent.Outcome.API_ERROR, agent.Outcome.LIMIT}
    reason = last.reason if last and failed else PERMISSION if outcome is agent.Outcome.REFUSED else ""
    refused = f"its call of {', '.join(denials)} was rejected, which ends the process"
    cost, usage = _sums(events)
    return port.Verdict(
        outcome,
        summary=(last.text if last and failed else refused if outcome is agent.Outcome.REFUSED else "") or said,
        reason=reason,
        denials=denials,
        cost_usd=cost,
        cost_is_of_session=False,
        retryable=outcome is agent.Outcome.API_ERROR and last is not None and last.retryable,
        retry_after_seconds=last.retry_after_seconds if last and failed else None,
        usage=usage,
        usage_is_of_session=False,
        structured=answers.given(said) if outcome is agent.Outcome.FINISHED else "",
    )


def _ended(
    events: Sequence[agent.Event], last: agent.Event | None, exit_code: int | None, *, rejected: bool
) -> agent.Outcome:
    if exit_code in _ENDED_BY_SIGNAL:
        return agent.Outcome.INTERRUPTED
    if last is not None and last.kind is agent.EventKind.ERROR and last.outcome is not None:
        return last.outcome
    if exit_code != 0:
        return agent.Outcome.CRASHED
    if last is not None and last.outcome is not None and events[-1] is last:
        return last.outcome
    # Exit code 0 in the middle of a conversation is what a rejected call leaves.
    return agent.Outcome.REFUSED if rejected and last is not None else agent.Outcome.PROTOCOL_ERROR


def _event(kind: agent.EventKind, value: dict[str, Any], **more: Any) -> agent.Event:
    return agent.Event(kind=kind, session_id=streams.text_at(value, "sessionID"), **more)


def _tool(value: dict[str, Any], part: dict[str, Any]) -> agent.Event:
    """A call that has ended, well or not: one in flight is not told."""
    name = streams.text_at(part, "tool") or "unknown"
    state = part.get("state")
    state = state if streams.is_object(state) else {}
    error = streams.text_at(state, "error") if streams.text_at(state, "status") == "error" else ""
    return _event(agent.EventKind.TOOL, value, text=name, denials=(name,) if _REJECTED.search(error) else ())


def _step(value: dict[str, Any], part: dict[str, Any]) -> agent.Event:
    reason = streams.text_at(part, "reason")
    counts = _counts(part)
    if reason == _STOPPED:
        return _event(agent.EventKind.RESULT, value, outcome=agent.Outcome.FINISHED, structured=counts)
    if reason == _CUT:
        return _event(
            agent.EventKind.RESULT, value, outcome=agent.Outcome.LIMIT, reason="output_length", structured=counts
        )
    return _event(agent.EventKind.COST, value, structured=counts)


def _counts(part: dict[str, Any]) -> str:
    """What this one step used, for `_sums`: an event's own counters would be understood as totals."""
    tokens = part.get("tokens")
    tokens = tokens if streams.is_object(tokens) else {}
    cache = tokens.get("cache")
    facts = {
        "cost": streams.number_at(part, "cost"),
        "input": streams.count_at(tokens, "input"),
        "cached": streams.count_at(cache, "read") if streams.is_object(cache) else None,
        "output": streams.count_at(tokens, "output"),
    }
    return json.dumps(facts)


def _sums(events: Sequence[agent.Event]) -> tuple[float | None, agent.Usage | None]:
    steps = [json.loads(event.structured) for event in events if event.structured]
    if not steps:
        return None, None
    costs = [step["cost"] for step in steps]
    # One unknown part makes a total unknown; a price of nothing is one that the CLI does not know.
    cost = sum(costs) if all(costs) else None
    totals: dict[str, int | None] = {}
    for name in _COUNTS:
        parts = [step[name] for step in steps]
        totals[name] = None if None in parts else sum(parts)
    return cost, agent.Usage(
        input_tokens=totals["input"], cached_tokens=totals["cached"], output_tokens=totals["output"]
    )


def _error(value: dict[str, Any]) -> agent.Event:
    error = value.get("error")
    error = error if streams.is_object(error) else {}
    data = error.get("data")
    data = data if streams.is_object(data) else {}
    name = streams.text_at(error, "name")
    status = streams.count_at(data, "statusCode")
    reason = _NAMES.get(name) or _STATUSES.get(status or 0) or ("server_error" if (status or 0) >= 500 else "unknown")
    headers = data.get("responseHeaders")
    after = streams.text_at(headers, "retry-after") if streams.is_object(headers) else ""
    outcome = {"context": agent.Outcome.LIMIT, "aborted": agent.Outcome.INTERRUPTED}.get(
        reason, agent.Outcome.API_ERROR
    )
    return _event(
        agent.EventKind.ERROR,
        value,
        text=streams.text_at(data, "message") or name,
        outcome=outcome,
        reason=reason,
        retryable=outcome is agent.Outcome.API_ERROR and reason not in _FINAL,
        retry_after_seconds=float(after) if re.fullmatch(r"\d{1,7}", after) else None,
    )
