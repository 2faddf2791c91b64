"""What every backend asks of its own verdict before it is believed: the right session, and an answer that fits."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Final

from domain import agent
from integrations.agent import port, schema

OTHER_SESSION: Final = "other_session"
NO_ANSWER: Final = "schema"
_ENDED: Final = frozenset({agent.Outcome.FINISHED, agent.Outcome.NEEDS_APPROVAL})
_AT_WORK: Final = frozenset({agent.EventKind.TEXT, agent.EventKind.TOOL})


def checked(
    verdict: port.Verdict,
    events: Sequence[agent.Event],
    request: agent.TurnRequest | None,
    *,
    chosen: bool,
) -> port.Verdict:
    """The verdict, or `PROTOCOL_ERROR` where the process spoke of another session than was asked for (some CLIs start
    a new one, silently, when they do not find the old) or did not answer as the schema demands.

    Args:
        chosen: The id of a new session was given to the CLI too, so its echo must agree.
    """
    if request is None:
        return verdict
    echoed = {event.session_id for event in events if event.session_id} - {request.session.id}
    if echoed and request.session.id and (chosen or request.resume):
        return dataclasses.replace(
            verdict,
            outcome=agent.Outcome.PROTOCOL_ERROR,
            reason=OTHER_SESSION,
            retryable=False,
            summary=f"session {request.session.id} was asked for, the agent worked in {sorted(echoed)[0]}: "
            "what it did is not taken over; start the session afresh",
        )
    if not request.answer_schema:
        return verdict
    if verdict.outcome is not agent.Outcome.FINISHED:
        return dataclasses.replace(verdict, structured="")
    wrong = schema.mistakes(verdict.structured, request.answer_schema) if verdict.structured else ["there is none"]
    if not wrong:
        return verdict
    return dataclasses.replace(
        verdict,
        outcome=agent.Outcome.PROTOCOL_ERROR,
        reason=NO_ANSWER,
        retryable=True,
        structured="",
        summary=f"an answer in the given schema was asked for, it is wrong: {'; '.join(wrong)}; ask again",
    )


def terminal(events: Sequence[agent.Event], last: agent.Event | None) -> agent.Event | None:
    """The last sign of how a process ended, unless it is one of success and the agent has gone on after it: then that
    was the end of an earlier turn of the process, and this one has none."""
    if last is None or last.outcome not in _ENDED:
        return last
    later = itertools.takewhile(lambda event: event is not last, reversed(events))
    return None if any(event.kind in _AT_WORK for event in later) else last


def denials(events: Sequence[agent.Event]) -> tuple[str, ...]:
    """Every tool that was refused, in order, each once."""
    return tuple(dict.fromkeys(name for event in events for name in event.denials))
