"""How turns end: told by their run, told late, or never; and what of it the ledger still has to be told.

A turn that nobody tells the end of is booked as lost, at its reservation. Its lease is remembered: an end that is told
after all takes that booking back and makes the real one, once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, budget, errors, leases, ledger, quota, roster, waiting_line
from domain.leases import Lease
from domain.pool import LOST, EndTurn, Settled  # the module's name is a field below

MOST_LAPSED: Final = 100
"""Lost turns that a late end still corrects, the newest."""
MOST_UNWRITTEN: Final = 300
_ANSWERED: Final = frozenset(
    {agent.Outcome.FINISHED, agent.Outcome.REFUSED, agent.Outcome.LIMIT, agent.Outcome.NEEDS_APPROVAL}
)
"""Outcomes in which the provider gave an answer."""


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Settlement(Model):
    """A turn that is over, with what the ledger says it cost; None: nobody knows."""

    ended: EndTurn
    cost_usd: float | None = None
    covers_usd: float = 0
    """Reservations of earlier turns, booked as unknown, that `cost_usd` now holds."""


class Accounts(Model):
    """The fleet's agents and money, and the turns that have both."""

    pool: roster.Pool = Field(default_factory=roster.Pool)
    book: budget.Book = Field(default_factory=budget.Book)
    cool_downs: quota.CoolDowns = Field(default_factory=quota.CoolDowns)
    leases: tuple[Lease, ...] = ()
    line: waiting_line.Line = Field(default_factory=waiting_line.Line)
    lapsed: tuple[Lease, ...] = ()
    """Turns that are booked as lost, at their reservation."""
    unwritten: tuple[EndTurn, ...] = ()
    """Ends that nobody who knows of them can write into the ledger; the fleet does, in this order."""
    experience: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """What the newest judgements of each kind have cost, where that is known."""

    def lease(self, key: str) -> Lease | None:
        return next((lease for lease in self.leases if lease.key == key), None)

    def lost(self, key: str) -> Lease | None:
        """The turn of this key, if it is booked as lost."""
        return next((lease for lease in self.lapsed if lease.key == key), None)

    def has_work(self) -> bool:
        """Whether anything is under way that the fleet has to look after."""
        return bool(self.leases or self.line.waiters or self.unwritten)


def settle(accounts: Accounts, settlement: Settlement, now: datetime) -> Settled:
    """Book a turn that is over. One that is booked stays as it is, unless it was taken for lost."""
    ended, cost = settlement.ended, settlement.cost_usd
    lease, lost = accounts.lease(ended.turn), accounts.lost(ended.turn)
    if ended.quota_hit and ended.provider:
        accounts.cool_downs.refused(ended.provider, quota.asked_for(ended.retry_after_seconds), now, ended.run)
    if lease is not None and ended.outcome == LOST and cost is None:
        return lose(accounts, lease, now)
    if lease is None and (lost is None or ended.outcome == LOST):
        return Settled(turn=ended.turn, cost_usd=cost or 0.0, known=cost is not None)
    one = lease or lost
    assert one is not None  # for the type checker: both were None above
    if ended.outcome in _ANSWERED:
        accounts.cool_downs.answered(one.provider, one.since)
    if lost is not None:
        _take_back(accounts, lost)
    if lost is not None and not ended.began:
        accounts.unwritten = (*accounts.unwritten, leases.never_began(lost))
    settled = _close(accounts, one, cost, now)
    accounts.book.uncover(one.sums, settlement.covers_usd)
    if one.judgement and cost is not None and ended.began:
        known = (*accounts.experience.get(one.type, ()), round(cost, 6))
        accounts.experience[one.type] = known[-ledger.LOOKED_AT :]
    return settled


def is_news(accounts: Accounts, settlement: Settlement) -> bool:
    """Whether telling this end changes anything."""
    ended = settlement.ended
    late = ended.outcome != LOST and accounts.lost(ended.turn) is not None
    return late or ended.quota_hit or accounts.lease(ended.turn) is not None


def lose(accounts: Accounts, lease: Lease, now: datetime) -> Settled:
    """Book a turn that nobody tells of, at its reservation, and remember it."""
    accounts.lapsed = (*accounts.lapsed, lease)[-MOST_LAPSED:]
    return _close(accounts, lease, None, now)


def lose_unwritten(accounts: Accounts, lease: Lease, now: datetime) -> None:
    """The same for one that the ledger does not have yet."""
    lose(accounts, lease, now)
    accounts.unwritten = (*accounts.unwritten, leases.lost_end(lease))


def find_waiting(accounts: Accounts, lost: Lease) -> None:
    """A turn that was taken for lost is asked for again by its own name: it had not begun, and cost nothing."""
    _take_back(accounts, lost)
    accounts.unwritten = (*accounts.unwritten, leases.never_began(lost))


def overdue(accounts: Accounts, ended_runs: Sequence[str], now: datetime) -> tuple[EndTurn, ...]:
    """The ends of turns whose run is over, or that have outlived themselves: nobody else will tell them. From now on
    nobody has them."""
    told = {end.turn for end in accounts.unwritten}
    gone = [
        lease
        for lease in accounts.leases
        if lease.key not in told and (lease.run in ended_runs or lease.expires_at <= now)
    ]
    for lease in gone:
        lease.given_up = True
    return tuple(leases.lost_end(lease) for lease in gone)


def after_lost(accounts: Accounts, lost: EndTurn) -> None:
    """The ledger was told of a lost turn. If its run has told the end while that was done, the line is wrong where the
    turn never began; a line with a real end in it stays."""
    if accounts.lost(lost.turn) is None and accounts.lease(lost.turn) is None:
        tell(accounts, lost.model_copy(update={"outcome": leases.NEVER_BEGAN, "began": False}))


def tell(accounts: Accounts, ended: EndTurn) -> None:
    """An end of which whoever knows it cannot write the ledger. Telling it twice is telling it once."""
    if all((end.turn, end.outcome) != (ended.turn, ended.outcome) for end in accounts.unwritten):
        accounts.unwritten = (*accounts.unwritten, ended)


def check_tell(accounts: Accounts, ended: EndTurn) -> None:
    """Raises errors.Refused when there is nothing to tell, or too much is told already."""
    if not is_news(accounts, Settlement(ended=ended)):
        raise errors.Refused(f"turn {ended.turn} is settled already: nothing is left to do")
    if len(accounts.unwritten) >= MOST_UNWRITTEN:
        raise errors.Refused(
            f"the end of turn {ended.turn} cannot be kept, {MOST_UNWRITTEN} are not in the ledger yet: see fettle "
            "doctor for the database; the turn is booked at its reservation meanwhile"
        )


def written(accounts: Accounts, ended: EndTurn) -> None:
    """The ledger has this end."""
    accounts.unwritten = tuple(end for end in accounts.unwritten if end != ended)


def runs_to_look_at(accounts: Accounts, now: datetime, older_than: timedelta) -> tuple[str, ...]:
    """Runs with a turn, or a place in line, that is older than this: they may be over without having said so."""
    leased = {lease.run for lease in accounts.leases if now - lease.since >= older_than}
    return tuple(sorted(leased | {w.run for w in accounts.line.waiters if now - w.since >= older_than}))


def _close(accounts: Accounts, lease: Lease, cost_usd: float | None, now: datetime) -> Settled:
    held = accounts.lease(lease.key) is not None
    accounts.leases = tuple(other for other in accounts.leases if other.key != lease.key)
    who = accounts.pool.agent(lease.instance)
    if held and who is not None and who.max_parallel:
        accounts.line.freed[lease.instance] = now
    cost = lease.reserved_usd if cost_usd is None else cost_usd
    accounts.book.settle(lease.sums, cost, known=cost_usd is not None, now=now)
    return Settled(turn=lease.key, cost_usd=cost, known=cost_usd is not None)


def _take_back(accounts: Accounts, lost: Lease) -> None:
    accounts.lapsed = tuple(other for other in accounts.lapsed if other.key != lost.key)
    accounts.book.take_back(lost.sums, lost.reserved_usd)
