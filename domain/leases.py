"""A turn that was granted: its place, its money, and how long both are kept without a word of its run."""

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain import budget, pool, refs, roster

EXTRA_LIFE: Final = timedelta(minutes=10)
"""A turn may begin so long after it was granted, and its reservation outlives even the longest such turn."""
_ATTEMPTS: Final = 4
_ATTEMPT_MORE: Final = timedelta(minutes=15)
"""`options.agent_turn`: a turn is lost for good after four times its limit and a quarter of an hour."""

NEVER_BEGAN: Final = "NeverBegan"
"""Outcome of a turn that was taken for lost while it waited."""


class Lease(BaseModel):
    """One turn under way: a place with its agent, and a reservation of money."""

    model_config = ConfigDict(extra="ignore")

    key: str
    """`Answer.turn`: no two leases ever share one."""
    turn: str
    """`BeginTurn.turn`: what the run calls it."""
    run: str
    run_id: str = ""
    repo: refs.Repository
    issue: int = 0
    round: int = 1
    type: str = roster.DEV
    judgement: bool = False
    instance: str = ""
    backend: str = ""
    model: str = ""
    provider: str = ""
    reserved_usd: float = 0
    sums: tuple[budget.Key, ...] = ()
    since: datetime
    expires_at: datetime
    given_up: bool = False
    """It has outlived itself, and is about to be booked as lost: from now on nobody has it."""
    warning: str = ""

    def renew(self, asked: pool.BeginTurn, now: datetime) -> None:
        """The turn has not begun: it has all of its life before it, and counts for the day that it is now."""
        self.expires_at = now + EXTRA_LIFE + longest(asked)
        self.sums = sums(asked, now)


def sums(asked: pool.BeginTurn, now: datetime) -> tuple[budget.Key, ...]:
    """What a turn that begins now counts for."""
    return budget.keys(asked.run, asked.run_id, asked.repo, asked.issue, now)


def longest(asked: pool.BeginTurn) -> timedelta:
    """From a turn's begin to the moment at which it is over whatever happens. A judgement is one attempt."""
    if asked.judgement:
        return timedelta(seconds=asked.turn_seconds)
    return _ATTEMPTS * (timedelta(seconds=asked.turn_seconds) + _ATTEMPT_MORE)


def made(key: str, asked: pool.BeginTurn, answer: pool.Answer, now: datetime) -> Lease:
    lease = Lease(
        key=key,
        turn=asked.turn,
        run=asked.run,
        run_id=asked.run_id,
        repo=asked.repo,
        issue=asked.issue,
        round=asked.round,
        type=asked.type,
        judgement=asked.judgement,
        instance=answer.instance,
        backend=answer.backend,
        model=answer.model,
        provider=answer.provider,
        reserved_usd=answer.reserved_usd,
        since=now,
        expires_at=now,
        warning=answer.sentence,
    )
    lease.renew(asked, now)
    return lease


def lost_end(lease: Lease) -> pool.EndTurn:
    """The end that nobody else will tell."""
    return _end(lease, pool.LOST)


def never_began(lease: Lease) -> pool.EndTurn:
    """A turn that was taken for lost, and had only waited: it gets no line in the ledger."""
    return _end(lease, NEVER_BEGAN).model_copy(update={"began": False})


def _end(lease: Lease, outcome: str) -> pool.EndTurn:
    return pool.EndTurn(
        turn=lease.key,
        run=lease.run,
        run_id=lease.run_id,
        repo=lease.repo,
        issue=lease.issue,
        round=lease.round,
        type=lease.type,
        instance=lease.instance,
        backend=lease.backend,
        model=lease.model,
        provider=lease.provider,
        outcome=outcome,
        reserved_usd=lease.reserved_usd,
    )
