"""Who may begin a turn now: the pool's places, the providers' cool-downs and the budgets, decided in one step.

`decide` looks and changes nothing, so a turn that has to wait leaves no trace; `begin` takes what `decide` grants.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from domain import budget, errors, leases, ledger, quota, roster, turn_ends
from domain.leases import Lease
from domain.pool import Answer, BeginTurn, Verdict, WaitReason

JUDGE: Final = "judge:"
"""Stands before the name of the judge where a turn names its agent; no agent of the pool can be called so."""


class State(turn_ends.Accounts):
    """The fleet's agents, money and turns."""

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


def decide(state: State, asked: BeginTurn, now: datetime) -> Answer:
    """Whether this turn may begin now, and with whom. A provider that refuses is gone round by declared fall-backs."""
    return _decide(state, asked, now)[0]


def _decide(state: State, asked: BeginTurn, now: datetime) -> tuple[Answer, tuple[str, ...]]:
    """With the names of the agents that would do."""
    if _lost(state, asked) or _waiting(state, asked):
        state = state.model_copy(deep=True)
        _clear_up(state, asked, now)
    held = next((lease for lease in state.leases if lease.turn == asked.turn), None)
    if held is not None:
        return _granted_again(state, held, asked, now), ()
    found = [_decide_for(state, asked, asked.backend, now)]
    for backend in asked.fallbacks:
        if found[-1][0].reason is not WaitReason.QUOTA:
            break
        found.append(_decide_for(state, asked, backend, now))
    return next((f for f in found if f[0].verdict is Verdict.GO), found[0])


def _lost(state: State, asked: BeginTurn) -> list[Lease]:
    """Turns of the asking run that it knows no more of: an earlier try of this round or judgement, one that has
    outlived itself, and all of an execution before this one, since there is only one at a time."""

    def is_lost(lease: Lease) -> bool:
        again = (lease.type, lease.judgement) == (asked.type, asked.judgement) and lease.turn != asked.turn
        again = again and (asked.judgement or lease.round == asked.round)
        return lease.run == asked.run and (again or lease.given_up or lease.run_id != asked.run_id)

    told = {end.turn for end in state.unwritten}
    return [lease for lease in state.leases if is_lost(lease) and lease.key not in told]


def _waiting(state: State, asked: BeginTurn) -> list[Lease]:
    """What is booked as lost, and is asked for again by its own name."""
    return [one for one in state.lapsed if (one.turn, one.run_id) == (asked.turn, asked.run_id)]


def _clear_up(state: State, asked: BeginTurn, now: datetime) -> None:
    """Nothing of the asking run is under way but the turn that it asks for."""
    for lost in _lost(state, asked):
        turn_ends.lose_unwritten(state, lost, now)
    for waiting in _waiting(state, asked):
        turn_ends.find_waiting(state, waiting)


def takes_a_place_in_line(state: State, asked: BeginTurn, answer: Answer) -> bool:
    """Whether this wait has to be written down: only the first one for a place, so that who came first goes first."""
    if answer.verdict is not Verdict.WAIT or answer.reason is not WaitReason.SLOT:
        return False
    return state.line.takes(asked)


def begin(state: State, asked: BeginTurn, now: datetime) -> Answer:
    """Take what `decide` grants, or a place in line."""
    _clear_up(state, asked, now)
    answer, group = _decide(state, asked, now)
    if takes_a_place_in_line(state, asked, answer):
        state.line.join(asked, group, now)
        return answer
    if answer.verdict is not Verdict.GO:
        return answer
    if (held := state.lease(answer.turn)) is not None:
        held.renew(asked, now)
        return answer
    state.granted += 1
    lease = leases.made(f"{asked.turn}#{state.granted}", asked, answer, now)
    state.leases = (*state.leases, lease)
    if not asked.judgement:
        state.line.leave(asked, group, now)
        state.pool.serve(answer.instance)
    state.cool_downs.began(answer.provider, now)
    return answer.model_copy(update={"turn": lease.key})


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


def leave_line(state: State, ended_runs: Sequence[str]) -> None:
    state.line.forget(ended_runs)


def _decide_for(state: State, asked: BeginTurn, backend: str, now: datetime) -> tuple[Answer, tuple[str, ...]]:
    if asked.judgement:
        return _stands_against(state, asked, _judged(state, asked), now), ()
    try:
        choice = state.pool.choose(asked.type, asked.labels, backend, state.load())
    except roster.NoAgent as nobody:
        return Answer(verdict=Verdict.REFUSE, sentence=str(nobody)), ()
    except roster.AllPaused as paused:
        return _wait(WaitReason.PAUSED, str(paused)), ()
    taken = _taken(state, asked, choice, backend)
    answer = _stands_against(state, asked, taken, now)
    if answer.verdict is Verdict.GO and (busy := _busy(state, asked, choice, now)) is not None:
        return _wait(WaitReason.SLOT, busy), choice.group
    return answer, choice.group


def _stands_against(state: State, asked: BeginTurn, taken: Answer, now: datetime) -> Answer:
    """The grant, unless its provider or a budget refuses it."""
    if (until := state.cool_downs.until(taken.provider, now)) is not None:
        sentence = (
            f"{taken.provider} refuses turns until {until:%Y-%m-%d %H:%M:%S} UTC, for every run: wait, declare "
            f"fallback_agents in the policy, or ask it at once with fettle budget clear {taken.provider}"
        )
        return _wait(WaitReason.QUOTA, sentence, until)
    sums, reserved = budget.keys(asked.run, asked.run_id, asked.repo, asked.issue, now), state.reserved()
    short = state.book.shortage(sums, taken.reserved_usd, reserved, now)
    if short is not None:
        return _wait(WaitReason.BUDGET, short.sentence(), short.until)
    return taken.model_copy(update={"room_usd": state.book.room(sums, reserved, now)})


def _judged(state: State, asked: BeginTurn) -> Answer:
    """The grant of a judgement: the installation's judge gives it, as often at once as there is money."""
    estimate = asked.estimate_usd
    if estimate is None:
        estimate = ledger.estimate(state.experience.get(asked.type, ()))
    return Answer(
        verdict=Verdict.GO,
        turn=asked.turn,
        instance=f"{JUDGE}{asked.backend}",
        backend=asked.backend,
        model=asked.model,
        provider=asked.provider or quota.provider_of(asked.backend, asked.model),
        reserved_usd=state.book.limits.turn_usd if estimate is None else estimate,
    )


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
        begin_within_seconds=leases.EXTRA_LIFE.total_seconds(),
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


def _granted_again(state: State, held: Lease, asked: BeginTurn, now: datetime) -> Answer:
    """The grant of a turn that has not begun. On another day it needs that day's money."""
    others = state.model_copy(update={"leases": tuple(one for one in state.leases if one.key != held.key)}).reserved()
    sums = leases.sums(asked, now)
    if sums != held.sums and (short := state.book.shortage(sums, held.reserved_usd, others, now)) is not None:
        return _wait(WaitReason.BUDGET, short.sentence(), short.until)
    return _granted(state, held).model_copy(update={"room_usd": state.book.room(sums, others, now)})


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
        begin_within_seconds=leases.EXTRA_LIFE.total_seconds(),
    )
