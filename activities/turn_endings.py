"""What the end of a process means for its turn: a result, an error in words, or an interruption that is continued."""

from datetime import timedelta
from typing import Final

from temporalio import activity

from activities import turn_process
from domain import agent, brief, errors, redaction
from integrations.agent import port

RETURNED: Final = frozenset(
    {agent.Outcome.FINISHED, agent.Outcome.NEEDS_APPROVAL, agent.Outcome.REFUSED, agent.Outcome.LIMIT}
)
"""Outcomes that are a turn's result; the workflow decides what they mean. The others are errors."""


def error(
    backend: str,
    request: agent.TurnRequest,
    verdict: port.Verdict,
    ended: turn_process.Ended,
    redactor: redaction.Redactor,
) -> errors.AgentError:
    """What a verdict that is no result means; the sentence is redacted here, where it is made."""
    how = f"exit code {ended.status.exit_code}" if ended.status.signal is None else f"signal {ended.status.signal}"
    # A secret is known as a whole: what is cut is cut afterwards.
    words = redactor.redact(verdict.summary or ended.stderr).strip()[-600:] or "it said nothing"
    denied = redactor.redact(", ".join(dict.fromkeys(verdict.denials)))
    refused = f"; refused on the way: {brief.bounded(denied, 300)}" if denied else ""
    sentence = redactor.redact(
        f"{backend} ended turn {request.round} of {request.run} with {verdict.outcome} "
        f"{f'({verdict.reason}) ' if verdict.reason else ''}and {how}: {words}{refused}"
    )
    after = timedelta(seconds=verdict.retry_after_seconds) if verdict.retry_after_seconds is not None else None
    if verdict.outcome is agent.Outcome.API_ERROR and verdict.is_quota:
        return errors.QuotaExhausted(f"{sentence}; wait for the provider's window", retry_after=after)
    if verdict.outcome is agent.Outcome.API_ERROR and verdict.is_credentials:
        worked = any(event.kind is agent.EventKind.TOOL for event in ended.events)
        kind = errors.AgentLoggedOut if worked else errors.AgentUnavailable  # what has worked has cost something
        return kind(f"{sentence}; log the agent in on this host, or correct its key")
    return errors.AgentCrashed(f"{sentence}; the session is kept and can be resumed", retry_after=after)


def goes_on(why: activity.ActivityCancellationDetails | None) -> bool:
    """Whether a cancelled attempt has a successor that wants what it left: not when the run itself ends, and not when
    the server has given this attempt up, because the successor may be at work already."""
    return why is not None and (why.worker_shutdown or why.paused) and not why.cancel_requested
