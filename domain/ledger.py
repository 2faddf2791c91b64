"""The cost ledger: one line a turn. What nobody knows is None and is told as unknown, never as zero."""

import enum
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain import agent, refs
from domain.pool import EndTurn

ENOUGH: Final = 5
"""Turns of known cost that make an experience."""
LOOKED_AT: Final = 40
"""The newest so many turns are the experience."""
_SHARE: Final = 0.9


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class By(enum.StrEnum):
    """What costs are added up by."""

    REPO = "repo"
    AGENT = "agent"
    DAY = "day"
    RUN = "run"
    BACKEND = "backend"
    KIND = "kind"
    """The type of agent, or what a model was asked to judge."""


class Entry(Model):
    """One turn. `raw_usd` is the session's total as the CLI counted, `usd` what this turn added to it."""

    turn: str
    at: datetime
    run: str
    run_id: str = ""
    repo: refs.Repository
    issue: int = 0
    session: str = ""
    round: int = 1
    type: str = ""
    instance: str = ""
    backend: str = ""
    version: str = ""
    model: str = ""
    provider: str = ""
    outcome: str = ""
    raw_usd: float | None = None
    usd: float | None = None
    """None: unknown; the budgets then count `reserved_usd`."""
    reserved_usd: float = 0
    covers_usd: float = 0
    """Reservations of earlier turns of this session whose cost was unknown, and which `usd` now holds."""
    usage: agent.Usage = agent.Usage()

    @property
    def known(self) -> bool:
        return self.usd is not None


class Sum(Model):
    """The turns of one repository, agent, day, run, backend or kind."""

    key: str
    turns: int = 0
    usd: float | None = None
    """Of the turns whose cost is known; None when it is known of none."""
    unknown_turns: int = 0
    reserved_for_unknown_usd: float = 0
    """What the budgets count for them; without those that a later turn of their session has told of."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None


def entry(ended: EndTurn, at: datetime, previous_raw: float | None, unknown_since_usd: float) -> Entry:
    """The line of a turn that is over.

    Args:
        ended: The turn.
        at: When it ended.
        previous_raw: The session's newest total in the ledger.
        unknown_since_usd: Reservations of the session's turns since then.
    """
    goes_on = ended.session_cost_usd is not None and ended.session_cost_usd >= (previous_raw or 0.0)
    return Entry(
        turn=ended.turn,
        at=at,
        run=ended.run,
        run_id=ended.run_id,
        repo=ended.repo,
        issue=ended.issue,
        session=ended.session_id,
        round=ended.round,
        type=ended.type,
        instance=ended.instance,
        backend=ended.backend,
        version=ended.version,
        model=ended.model,
        provider=ended.provider,
        outcome=ended.outcome,
        raw_usd=ended.session_cost_usd,
        usd=added(ended.session_cost_usd, previous_raw, ended.turn_cost_usd),
        reserved_usd=ended.reserved_usd,
        covers_usd=unknown_since_usd if goes_on else 0.0,
        usage=ended.usage or agent.Usage(),
    )


def added(raw: float | None, previous: float | None, seen_by_host: float | None) -> float | None:
    """What a turn added to its session's total; None when nobody knows.

    The difference to the last known total also holds what turns of unknown cost in between have spent. A total that has
    become smaller was counted anew, by a CLI that counts each process, and is all of this turn's.

    Args:
        raw: The session's total after the turn.
        previous: The newest total of the session that is known.
        seen_by_host: What the host saw the turn add; its word where there is no total.
    """
    if raw is None:
        return seen_by_host
    if previous is None or raw < previous:
        return raw
    return raw - previous


def estimate(costs: Sequence[float]) -> float | None:
    """What to reserve for the next turn after these; None: too few to tell. Nine in ten turns cost no more."""
    if len(costs) < ENOUGH:
        return None
    return sorted(costs)[int(_SHARE * (len(costs) - 1))]


def total(sums: Sequence[Sum]) -> Sum:
    """All of them together; a number that is unknown everywhere stays so."""

    def added_up(field: str) -> float | None:
        known = [value for one in sums if (value := getattr(one, field)) is not None]
        return sum(known) if known else None

    counts = {name: added_up(name) for name in ("usd", "input_tokens", "cached_tokens", "output_tokens")}
    return Sum.model_validate(
        {
            "key": "total",
            "turns": sum(s.turns for s in sums),
            "unknown_turns": sum(s.unknown_turns for s in sums),
            "reserved_for_unknown_usd": sum(s.reserved_for_unknown_usd for s in sums),
            **counts,
        }
    )
