"""Who may begin a turn now: the pool's places, the providers' cool-downs and the budgets, decided in one step.

`decide` looks and changes nothing, so a turn that has to wait leaves no trace; `begin` takes what `decide` grants.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, budget, errors, quota, refs, roster, waiting_line
from domain.pool import Answer, BeginTurn, EndTurn, Settled, Verdict, WaitReason

EXTRA_LIFE: Final = timedelta(minutes=10)
"""A reservation outlives the longest life of its turn by so much; then its run must have forgotten it."""
_ATTEMPTS: Final = 4
_ATTEMPT_MORE: Final = timedelta(minutes=15)
"""`options.agent_turn`: a turn is lost for good after four times its limit and a quarter of an hour."""
LOST: Final = "Lost"
"""Outcome of a turn whose run never told its end."""
_ANSWERED: Final = frozenset(
    {agent.Outcome.FINISHED, agent.Outcome.REFUSED, agent.Outcome.LIMIT, agent.Outcome.NEEDS_APPROVAL}
)
"""Outcomes in which the provider gave an answer."""


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Lease(Model):
    """One turn under way: a place with its agent, and a reservation of money."""

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
    instance: str = ""
    backend: str = ""
    model: str = ""
    provider: str = ""
    reserved_usd: float = 0
    sums: tuple[budget.Key, ...] = ()
    since: datetime
    expires_at: datetime
    warning: str = ""


class Settlement(Model):
    """A turn that is over, with what the ledger says it cost; None: nobody knows."""

    ended: EndTurn
    cost_usd: float | None = None
    covers_usd: float = 0
    """Reservations of earlier turns, booked as unknown, that `cost_usd` now holds."""


class State(Model):
    """The fleet's agents, money and turns."""

    pool: roster.Pool = Field(default_factory=roster.Pool)
    book: budget.Book = Field(default_factory=budget.Book)
    cool_downs: quota.CoolDowns = Field(default_factory=quota.CoolDowns)
    leases: tuple[Lease, ...] = ()
    line: waiting_line.Line = Field(default_factory=waiting_line.Line)
    granted: int = 0

    def load(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for lease in self.leases:
            counts[lease.instance] = counts.get(lease.instance, 0) + 1
        return counts

    def reserved(self) -> dict[str, float]:
        """Dollars reserved by turns under way, by key id."""
        sums: dict[str, float] = {}
        for lease in self.leases:
            for key in lease.sums:
                sums[key.id] = sums.get(key.id, 0.0) + lease.reserved_usd
        return sums

    def lease(self, key: str) -> Lease | None:
        return next((lease for lease in self.leases if lease.key == key), None)


def decide(state: State, asked: BeginTurn, now: datetime) -> Answer:
    """Whether this turn may begin now, and with whom. A provider that refuses is gone round by declared fall-backs."""
    return _decide(state, asked, now)[0]


def _decide(state: State, asked: BeginTurn, now: datetime) -> tuple[Answer, tuple[str, ...]]:
    """With the names of the agents that would do."""
    if lost := _lost(state, asked):
        state = state.model_copy(deep=True)
        for lease in lost:
            _close(state, lease, None, now)
    held = next((lease for lease in state.leases if lease.turn == asked.turn), None)
    if held is not None:
        return _granted(state, held), ()
    found = [_decide_for(state, asked, asked.backend, now)]
    for backend in asked.fallbacks:
        if found[-1][0].reason is not WaitReason.QUOTA:
            break
        found.append(_decide_for(state, asked, backend, now))
    return next((f for f in found if f[0].verdict is Verdict.GO), found[0])


def _lost(state: State, asked: BeginTurn) -> list[Lease]:
    """Turns of the asking run that it knows no more of: an earlier try of this round, and all of an execution before
    this one, since there is only one at a time."""

    def is_lost(lease: Lease) -> bool:
        again = (lease.type, lease.round) == (asked.type, asked.round) and lease.turn != asked.turn
        return lease.run == asked.run and (again or lease.run_id != asked.run_id)

    return list(filter(is_lost, state.leases))


def takes_a_place_in_line(state: State, asked: BeginTurn, answer: Answer) -> bool:
    """Whether this wait has to be written down: only the first one for a place, so that who came first goes first."""
    if answer.verdict is not Verdict.WAIT or answer.reason is not WaitReason.SLOT:
        return False
    return state.line.takes(asked)


def begin(state: State, asked: BeginTurn, now: datetime) -> Answer:
    """Take what `decide` grants, or a place in line."""
    for lost in _lost(state, asked):
        _close(state, lost, None, now)
    answer, group = _decide(state, asked, now)
    if takes_a_place_in_line(state, asked, answer):
        state.line.join(asked, group, now)
        return answer
    if answer.verdict is not Verdict.GO:
        return answer
    if (held := state.lease(answer.turn)) is not None:
        held.expires_at = now + _life(asked)
        return answer
    state.granted += 1
    lease = Lease(
        key=f"{asked.turn}#{state.granted}",
        turn=asked.turn,
        run=asked.run,
        run_id=asked.run_id,
        repo=asked.repo,
        issue=asked.issue,
        round=asked.round,
        type=asked.type,
        instance=answer.instance,
        backend=answer.backend,
        model=answer.model,
        provider=answer.provider,
        reserved_usd=answer.reserved_usd,
        sums=budget.keys(asked.run, asked.run_id, asked.repo, asked.issue, now),
        since=now,
        expires_at=now + _life(asked),
        warning=answer.sentence,
    )
    state.leases = (*state.leases, lease)
    state.line.leave(asked, group, now)
    state.pool.serve(answer.instance)
    state.cool_downs.began(answer.provider, now)
    return answer.model_copy(update={"turn": lease.key})


def settle(state: State, settlement: Settlement, now: datetime) -> Settled:
    """Book a turn that is over. One that is booked stays as it is."""
    ended, cost = settlement.ended, settlement.cost_usd
    lease = state.lease(ended.turn)
    if ended.quota_hit and ended.provider:
        after = timedelta(seconds=ended.retry_after_seconds) if ended.retry_after_seconds else None
        state.cool_downs.refused(ended.provider, after, now, ended.run)
    if lease is None:
        return Settled(turn=ended.turn, cost_usd=cost or 0.0, known=cost is not None)
    if ended.outcome in _ANSWERED:
        state.cool_downs.answered(lease.provider, lease.since)
    settled = _close(state, lease, cost, now)
    state.book.uncover(lease.sums, settlement.covers_usd)
    return settled


def is_news(state: State, settlement: Settlement) -> bool:
    """Whether telling this end changes anything."""
    return state.lease(settlement.ended.turn) is not None or settlement.ended.quota_hit


def change_agents(state: State, change: roster.Change, now: datetime) -> None:
    """Change the pool. A place that this makes free is kept for those in line as any other."""
    state.pool.apply(change, now)
    names = {a.name for a in state.pool.agents if a.max_parallel}
    state.line.freed = {name: at for name, at in state.line.freed.items() if name in names}
    if change.name in names:
        state.line.freed[change.name] = now


def change_budgets(state: State, change: budget.Change, now: datetime) -> None:
    state.book.apply(change, now)
    if change.clear_provider:
        state.cool_downs.clear(change.clear_provider)


def check_budgets(state: State, change: budget.Change, now: datetime) -> None:
    """Raises errors.Refused when the change cannot be made."""
    state.book.check(change, now)
    if change.clear_provider and state.cool_downs.until(change.clear_provider, now) is None:
        cooling = ", ".join(n for n in state.cool_downs.providers if state.cool_downs.until(n, now)) or "none"
        raise errors.Refused(
            f"the provider '{change.clear_provider}' is not left alone now, of all providers {cooling}: see fettle "
            "budget show"
        )


def overdue(state: State, ended_runs: Sequence[str], now: datetime) -> tuple[EndTurn, ...]:
    """The ends of turns whose run is over, or that have outlived themselves: nobody else will tell them."""
    gone = [lease for lease in state.leases if lease.run in ended_runs or lease.expires_at <= now]
    return tuple(
        EndTurn(
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
            outcome=LOST,
            reserved_usd=lease.reserved_usd,
        )
        for lease in gone
    )


def leave_line(state: State, ended_runs: Sequence[str]) -> None:
    state.line.forget(ended_runs)


def runs_to_look_at(state: State, now: datetime, older_than: timedelta) -> tuple[str, ...]:
    """Runs with a turn, or a place in line, that is older than this: they may be over without having said so."""
    leased = {lease.run for lease in state.leases if now - lease.since >= older_than}
    return tuple(sorted(leased | {w.run for w in state.line.waiters if now - w.since >= older_than}))


def _decide_for(state: State, asked: BeginTurn, backend: str, now: datetime) -> tuple[Answer, tuple[str, ...]]:
    try:
        choice = state.pool.choose(asked.type, asked.labels, backend, state.load())
    except roster.NoAgent as nobody:
        return Answer(verdict=Verdict.REFUSE, sentence=str(nobody)), ()
    except roster.AllPaused as paused:
        return _wait(WaitReason.PAUSED, str(paused)), ()
    taken = _taken(state, asked, choice, backend)
    if (until := state.cool_downs.until(taken.provider, now)) is not None:
        sentence = (
            f"{taken.provider} refuses turns until {until:%Y-%m-%d %H:%M:%S} UTC, for every run: wait, declare "
            f"fallback_agents in the policy, or ask it at once with fettle budget clear {taken.provider}"
        )
        return _wait(WaitReason.QUOTA, sentence, until), choice.group
    sums, reserved = budget.keys(asked.run, asked.run_id, asked.repo, asked.issue, now), state.reserved()
    short = state.book.shortage(sums, taken.reserved_usd, reserved, now)
    if short is not None:
        return _wait(WaitReason.BUDGET, short.sentence(), short.until), choice.group
    if (busy := _busy(state, asked, choice, now)) is not None:
        return _wait(WaitReason.SLOT, busy), choice.group
    return taken.model_copy(update={"room_usd": state.book.room(sums, reserved, now)}), choice.group


def _wait(reason: WaitReason, sentence: str, until: datetime | None = None) -> Answer:
    return Answer(verdict=Verdict.WAIT, reason=reason, sentence=sentence, until=until)


def _taken(state: State, asked: BeginTurn, choice: roster.Choice, backend: str) -> Answer:
    """The grant, if nothing stands against it."""
    who, named = choice.instance, state.pool
    chosen = backend or named.backend(who) or asked.default_backend
    # The run's own model is a name of the backend that the run has in mind; another one would not know it.
    own = asked.model if chosen == (asked.backend or asked.default_backend) else ""
    model = own or named.model(who)
    estimate = asked.estimate_usd if asked.estimate_usd is not None else state.book.limits.turn_usd
    return Answer(
        verdict=Verdict.GO,
        sentence=choice.warning,
        turn=asked.turn,
        instance=who.name,
        backend=chosen,
        model=model,
        provider=asked.provider or quota.provider_of(chosen, model),
        appendix=named.appendix(who),
        image=named.image(who),
        reserved_usd=estimate,
    )


def _busy(state: State, asked: BeginTurn, choice: roster.Choice, now: datetime) -> str | None:
    """Why there is no place; None when there is one. Whoever stands in line earlier is asked first, for a moment."""
    load = state.load()
    group = [a for name in choice.group if (a := state.pool.agent(name)) is not None]
    places = [roster.free(a, load) for a in group]
    if any(place is None for place in places):
        return None
    free = sum(place for place in places if place is not None)
    names = ", ".join(a.name for a in group)
    if not free:
        taken, most = sum(load.get(a.name, 0) for a in group), sum(a.max_parallel for a in group)
        return (
            f"{names}: {taken} of {most} places taken: a turn has to end first, or raise it with "
            f"fettle agents edit {group[0].name} --max-parallel {group[0].max_parallel + 1}"
        )
    if state.line.lets_pass(asked, choice.group, free, now):
        return None
    return f"{names}: a free place is for one of {len(state.line.ahead(asked, choice.group))} turns that came earlier"


def _life(asked: BeginTurn) -> timedelta:
    return _ATTEMPTS * (timedelta(seconds=asked.turn_seconds) + _ATTEMPT_MORE) + EXTRA_LIFE


def _granted(state: State, lease: Lease) -> Answer:
    """What the run was told when the turn was granted; the words of the agent are today's."""
    who = state.pool.agent(lease.instance)
    return Answer(
        verdict=Verdict.GO,
        sentence=lease.warning,
        turn=lease.key,
        instance=lease.instance,
        backend=lease.backend,
        model=lease.model,
        provider=lease.provider,
        appendix=state.pool.appendix(who) if who else "",
        image=state.pool.image(who) if who else "",
        reserved_usd=lease.reserved_usd,
    )


def _close(state: State, lease: Lease, cost_usd: float | None, now: datetime) -> Settled:
    state.leases = tuple(other for other in state.leases if other.key != lease.key)
    who = state.pool.agent(lease.instance)
    if who is not None and who.max_parallel:
        state.line.freed[lease.instance] = now
    cost = lease.reserved_usd if cost_usd is None else cost_usd
    state.book.settle(lease.sums, cost, known=cost_usd is not None, now=now)
    return Settled(turn=lease.key, cost_usd=cost, known=cost_usd is not None)
