"""Claude Code's JSON stream: one line to events, and the events of a process to a verdict.

The exit code and the `subtype` of a result each lie alone: an API error ends with subtype `success`, an interrupt with
exit code 0, a held call and refused tools with both. A process can print several results; the last one counts.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from domain import agent, brief
from integrations.agent import port, streams, verdicts

_LIMITS: Final = {
    "max_turns": "turns",
    "budget_exhausted": "budget",
    "prompt_too_long": "context",
    "error_max_turns": "turns",
    "error_max_budget_usd": "budget",
}
_OWN_PACE_MS: Final = 60_000
"""Between its own retries the CLI waits less than a minute; more is what the provider asked for."""
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
        case "user":
            return _user_events(value)
        case "result":
            return [_result_event(value)]
        case "rate_limit_event":
            return [_rate_limit_event(value)]
        case _:
            return [_event(agent.EventKind.OTHER, value)]


def fold(events: Sequence[agent.Event], exit_code: int | None) -> port.Verdict:
    """The verdict on a process: its last result line, and its exit code (None when a signal ended it)."""
    last = next((event for event in reversed(events) if event.kind is agent.EventKind.RESULT), None)
    error = next((event for event in reversed(events) if event.kind is agent.EventKind.ERROR), None)
    cost = next((event for event in reversed(events) if event.cost_usd is not None), None)
    outcome = _ended(verdicts.terminal(events, last), exit_code)
    failed = outcome is agent.Outcome.API_ERROR
    told = last.reason if last else ""
    reason = (error.reason if error else "") or told if failed else told if outcome is agent.Outcome.LIMIT else ""
    # The older release says "server_error" of an overload in the message, and the status in the result alone.
    reason = "overloaded" if failed and told == "overloaded" else reason
    return port.Verdict(
        outcome,
        summary=(last.text if last else "") or _last_words(events),
        reason=reason,
        denials=verdicts.denials(events),
        cost_usd=cost.cost_usd if cost else None,
        cost_is_of_session=cost.cost_is_of_session if cost else True,
        retryable=failed and reason in _RETRYABLE,
        retry_after_seconds=_retry_after(events) if failed else None,
        usage=last.usage if last else None,
        usage_is_of_session=False,
        question=last.question if last and outcome is agent.Outcome.NEEDS_APPROVAL else None,
        structured=last.structured if last else "",
    )


def _retry_after(events: Sequence[agent.Event]) -> float | None:
    return next((each.retry_after_seconds for each in reversed(events) if each.retry_after_seconds is not None), None)


def _ended(last: agent.Event | None, exit_code: int | None) -> agent.Outcome:
    if last is None or last.outcome is None:
        if exit_code == 0:
            return agent.Outcome.PROTOCOL_ERROR
        return agent.Outcome.INTERRUPTED if exit_code in _ENDED_BY_SIGNAL else agent.Outcome.CRASHED
    if last.outcome in {agent.Outcome.FINISHED, agent.Outcome.NEEDS_APPROVAL} and exit_code != 0:
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
            # A short one may be the CLI's own pace, which says nothing of when the provider takes requests again.
            after = delay / 1000 if delay is not None and delay >= _OWN_PACE_MS else None
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
    if value.get("is_api_error_message") is True or streams.text_at(value, "error"):  # the older release has no mark
        overloaded = streams.number_at(value, "api_error_status") == 529
        reason = "overloaded" if overloaded else streams.text_at(value, "error") or "unknown"
        return [_event(agent.EventKind.ERROR, value, text=text, reason=reason, retryable=reason in _RETRYABLE)]
    found = [_event(agent.EventKind.TEXT, value, text=text)] if text else []
    for block in blocks:
        if streams.text_at(block, "type") == "tool_use":
            name, call = streams.text_at(block, "name"), streams.text_at(block, "id")
            found.append(_event(agent.EventKind.TOOL, value, text=name, tool_id=call))
    return found or [_event(agent.EventKind.OTHER, value)]


def _user_events(value: dict[str, Any]) -> list[agent.Event]:
    """What the tools answered; their words are the worktree's and are not kept."""
    message = value.get("message")
    blocks = streams.objects_at(message, "content") if streams.is_object(message) else []
    calls = [streams.text_at(block, "tool_use_id") for block in blocks]
    found = [_event(agent.EventKind.TOOL_RESULT, value, tool_id=call) for call in calls if call]
    return found or [_event(agent.EventKind.OTHER, value)]


def _rate_limit_event(value: dict[str, Any]) -> agent.Event:
    """Of a subscription: the window that is used up, and when it opens again (seconds since 1970)."""
    facts = value.get("rate_limit_info")
    facts = facts if streams.is_object(facts) else {}
    opens = streams.number_at(facts, "resetsAt")
    if streams.text_at(facts, "status") != "rejected":
        return _event(agent.EventKind.OTHER, value)
    after = max(0.0, opens - time.time()) if opens is not None else None
    return _event(agent.EventKind.RETRY, value, reason="rate_limit", retryable=True, retry_after_seconds=after)


def _result_event(value: dict[str, Any]) -> agent.Event:
    denied = [
        streams.text_at(each, "tool_name") or "unknown" for each in streams.objects_at(value, "permission_denials")
    ]
    outcome = _outcome(value)
    limit = _LIMITS.get(streams.text_at(value, "terminal_reason")) or _LIMITS.get(streams.text_at(value, "subtype"))
    overloaded = streams.number_at(value, "api_error_status") == 529
    answer = value.get("structured_output")
    return _event(
        agent.EventKind.RESULT,
        value,
        text=streams.text_at(value, "result") or "\n".join(streams.texts_at(value, "errors")),
        cost_usd=_cost(value),
        # Only the releases whose total spans resumes also print the difference.
        cost_is_of_session="model_usage_since_last_result" in value,
        outcome=outcome,
        reason="overloaded" if overloaded else limit or streams.text_at(value, "api_error_type"),
        denials=tuple(dict.fromkeys(denied)),
        usage=_usage(value),
        usage_is_of_session=False,
        question=_question(value) if outcome is agent.Outcome.NEEDS_APPROVAL else None,
        structured=streams.json_text(answer) if answer is not None else "",
    )


def _cost(value: dict[str, Any]) -> float | None:
    """Unknown where a model's price is: the CLI then guesses with the price of another one."""
    models = value.get("modelUsage")
    if streams.is_object(models):
        bases = [each.get("costBasis") for each in models.values() if streams.is_object(each)]
        if "unknown" in bases:
            return None
    return streams.number_at(value, "total_cost_usd")


def _usage(value: dict[str, Any]) -> agent.Usage | None:
    """Of this process. Nothing but zeros means that the CLI did not count."""
    facts = value.get("usage")
    if not streams.is_object(facts):
        return None
    fresh, written, cached, output = (
        streams.count_at(facts, name)
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    )
    if not any((fresh, written, cached, output)):
        return None
    read = fresh + (written or 0) if fresh is not None else written
    return agent.Usage(input_tokens=read, cached_tokens=cached, output_tokens=output)


def _question(value: dict[str, Any]) -> agent.Question | None:
    held = value.get("deferred_tool_use")
    if not streams.is_object(held) or not streams.text_at(held, "id"):
        return None
    given = held.get("input")
    words = streams.text_at(given, "command") if streams.is_object(given) else ""
    return agent.Question(
        id=streams.text_at(held, "id"),
        tool=streams.text_at(held, "name") or "unknown",
        text=brief.bounded(words or streams.json_text(given), agent.QUESTION_KEPT),
    )


def _outcome(value: dict[str, Any]) -> agent.Outcome:
    terminal = streams.text_at(value, "terminal_reason")
    subtype = streams.text_at(value, "subtype")
    failed = value.get("is_error")
    if failed is False and terminal in {"", "completed"} and subtype == "success":
        return agent.Outcome.FINISHED
    if failed is False and terminal == "tool_deferred":
        return agent.Outcome.NEEDS_APPROVAL if _question(value) else agent.Outcome.PROTOCOL_ERROR
    if terminal in _LIMITS or subtype in _LIMITS:
        return agent.Outcome.LIMIT
    if subtype == "error_max_structured_output_retries":
        return agent.Outcome.PROTOCOL_ERROR
    if streams.text_at(value, "stop_reason") == "refusal":
        return agent.Outcome.REFUSED
    if terminal == "api_error" or (subtype == "success" and failed is True):
        return agent.Outcome.API_ERROR
    return agent.Outcome.INTERRUPTED if terminal.startswith("aborted") else agent.Outcome.CRASHED


def _last_words(events: Sequence[agent.Event]) -> str:
    kinds = {agent.EventKind.TEXT, agent.EventKind.ERROR}
    return next((event.text for event in reversed(events) if event.kind in kinds and event.text), "")
