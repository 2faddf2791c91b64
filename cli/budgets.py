"""Budgets and cool-downs: what may be spent, what is, and who is left alone for how long."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel
from temporalio.client import Client

from cli import failures, fleet_door, names, render, session, steer
from domain import budget, leases, quota, turns, waiting_line, wire

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_LONGEST: Final = timedelta(days=36_500)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_FIELDS: Final = {
    "run": "run_usd",
    "issue": "issue_usd",
    "repository": "repository_day_usd",
    "day": "day_usd",
    "turn": "turn_usd",
}


class Shown(BaseModel):
    """The money of today, and what bounds it."""

    limits: budget.Limits
    overrides: tuple[budget.Override, ...]
    day: str
    day_limit_usd: float | None
    spent_usd: float
    unknown_usd: float
    """The part of `spent_usd` that is reservations of turns of unknown cost."""
    reserved_usd: float
    under_way: tuple[leases.Lease, ...]
    waiting: tuple[waiting_line.Waiter, ...]
    cool_downs: tuple[quota.CoolDown, ...]


def show(*, as_json: bool) -> None:
    """Print limits, today's money, the turns under way and the providers that are left alone."""

    async def work(client: Client) -> turns.State:
        return await fleet_door.ask(client, wire.TURNS, turns.State)

    found = _shown(session.call(work), datetime.now(UTC))
    if as_json:
        render.emit_json(found)
    else:
        render.printer().print(render.facts(_facts(found)))


def change(line: str, *, as_json: bool, **given: Any) -> None:
    """Make a change and print the limits as they are then, after `line`."""
    wanted = steer.checked(lambda: budget.Change.model_validate({"by": session.operator(), **given}))
    limits = session.call(lambda client: fleet_door.tell(client, wire.CHANGE_BUDGETS, wanted, budget.Limits))
    words = ", ".join(f"{name} {value}" for name, value in _limits(limits)) or "no limit is set"
    render.emit(limits, f"{line}; {words}", as_json=as_json)


def set_limits(*, only: str, as_json: bool, **typed: str | None) -> None:
    """Set the limits that were typed; an empty text takes one away.

    Raises:
        failures.Usage: a text is no number, or `only` stands without a repository's limit.
    """
    given = {name: _dollars(name, text) for name, text in typed.items() if text is not None}
    limits: dict[str, Any] = {}
    gone: tuple[str, ...] = ()
    if only:
        repo = str(names.repository(only))
        if "repository" not in given:
            raise failures.Usage(f"--only {only} has no limit: add --repository USD")
        usd = given.pop("repository")
        limits, gone = ({"repositories": {repo: usd}}, ()) if usd is not None else ({}, (repo,))
    limits |= {_FIELDS[name]: usd for name, usd in given.items()}
    change("the budgets are changed", as_json=as_json, limits=limits, forget_repositories=gone)


def _dollars(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        usd = float(text)
    except ValueError:
        usd = math.nan
    if not math.isfinite(usd):
        raise failures.Usage(f"--{name} {text} is no number of dollars: for example --{name} 12.50")
    return usd


def override(usd: float, lasting: str, repo: str, issue: int, note: str, *, as_json: bool) -> None:
    """Allow more for a while.

    Raises:
        failures.Usage: the time cannot be read, or an issue was named without its repository.
    """
    if issue and not repo:
        raise failures.Usage(f"--issue {issue} is of no repository: add --repo owner/name")
    span, most = seconds(lasting), budget.LONGEST_OVERRIDE
    if not 0 < span <= most.total_seconds():
        raise failures.Usage(
            f"--for {lasting} is not within what an override may last, {most.days}d: say it again later"
        )
    wanted = {
        "usd": usd,
        "seconds": span,
        "by": session.operator(),
        "note": note,
        "repo": names.repository(repo) if repo else None,
        "issue": issue,
    }
    whom = f"{repo}#{issue}" if issue else repo or "everybody"
    change(f"${usd:.2f} more for {whom}, for {lasting}", as_json=as_json, override=wanted)


def seconds(text: str) -> float:
    """`2h`, `90m`, `1d12h`.

    Raises:
        failures.Usage: it has another form, or is longer than a century.
    """
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise failures.Usage(f"'{text}' is no time: expected a number and s, m, h or d, for example 2h or 1d12h")
    found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if found > _LONGEST.total_seconds():
        raise failures.Usage(f"'{text}' is longer than any time here, {_LONGEST.days}d: give a shorter one")
    return found


def _shown(state: turns.State, now: datetime) -> Shown:
    key = budget.Key(scope=budget.Scope.DAY, name=f"{now:%Y-%m-%d}")
    tally = state.book.tallies.get(key.id)
    return Shown(
        limits=state.book.limits,
        overrides=tuple(o for o in state.book.overrides if o.until and o.until > now),
        day=key.name,
        day_limit_usd=state.book.allowed(key, now),
        spent_usd=tally.usd if tally else 0.0,
        unknown_usd=tally.unknown_usd if tally else 0.0,
        reserved_usd=state.reserved().get(key.id, 0.0),
        under_way=state.leases,
        waiting=state.line.waiters,
        cool_downs=tuple(c for c in state.cool_downs.providers.values() if c.until > now),
    )


def _facts(found: Shown) -> list[tuple[str, str]]:
    unknown = f", of it ${found.unknown_usd:.2f} reserved for turns of unknown cost" if found.unknown_usd else ""
    of = f" of ${found.day_limit_usd:.2f}" if found.day_limit_usd is not None else ""
    working = [f"{lease.run} with {lease.instance}, ${lease.reserved_usd:.2f}" for lease in found.under_way]
    return [
        *(_limits(found.limits) or [("limits", "none: fettle budget set --day 50")]),
        ("a turn reserves", f"${found.limits.turn_usd:.2f}, until there is experience"),
        (f"today ({found.day})", f"${found.spent_usd:.2f} spent{unknown}, ${found.reserved_usd:.2f} reserved{of}"),
        ("more for a while", "\n".join(_override(o) for o in found.overrides)),
        ("turns under way", "\n".join(working)),
        ("wait for a place", "\n".join(waiter.run for waiter in found.waiting)),
        ("left alone", "\n".join(f"{c.provider} until {render.moment(c.until)}" for c in found.cool_downs)),
    ]


def _override(found: budget.Override) -> str:
    whom = f"{found.repo}#{found.issue}" if found.issue else str(found.repo or "everybody")
    note = f": {found.note}" if found.note else ""
    return f"${found.usd:.2f} for {whom} until {render.moment(found.until)}, by {found.by}{note}"


def _limits(limits: budget.Limits) -> list[tuple[str, str]]:
    named = (
        ("a run", limits.run_usd),
        ("an issue", limits.issue_usd),
        ("a repository's day", limits.repository_day_usd),
        ("the day", limits.day_usd),
        *((f"{repo}'s day", usd) for repo, usd in sorted(limits.repositories.items())),
    )
    return [(name, f"${usd:.2f}") for name, usd in named if usd is not None]
