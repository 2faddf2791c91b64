"""Money: reserved before a turn, settled after it, so that parallel runs cannot spend the same dollar.

A reservation counts under up to four keys: its run, its issue, its repository's day, and the day. Days are UTC, and a
turn belongs to the day on which it began.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain import errors, refs, roster

MOST_TALLIES: Final = 3000
"""Issues and runs that are remembered, the newest; one that falls out begins anew."""
LONGEST_OVERRIDE: Final = timedelta(days=7)
_DAYS_KEPT: Final = timedelta(days=2)

Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
"""JSON has no other numbers: one would arrive as null, which takes a limit away."""


class Scope(enum.StrEnum):
    RUN = "run"
    ISSUE = "issue"
    REPOSITORY = "repository"
    """One repository's day."""
    DAY = "day"
    """The whole fleet's day."""


_OF_MANY: Final = frozenset({Scope.REPOSITORY, Scope.DAY})


class Limits(BaseModel):
    """Dollars. None: no limit."""

    model_config = ConfigDict(extra="forbid")

    run_usd: Usd | None = None
    issue_usd: Usd | None = None
    """All runs of one issue together."""
    repository_day_usd: Usd | None = None
    day_usd: Usd | None = None
    turn_usd: Annotated[Usd, Field(gt=0)] = 2.0
    """Reserved for a turn of which there is no experience yet. If it were nothing, any number could begin at once."""
    repositories: dict[str, Usd] = Field(default_factory=dict, max_length=1000)
    """`owner/name` and its day's limit, where it differs from `repository_day_usd`."""

    def of(self, scope: Scope, repo: str = "") -> float | None:
        match scope:
            case Scope.RUN:
                return self.run_usd
            case Scope.ISSUE:
                return self.issue_usd
            case Scope.REPOSITORY:
                return self.repositories.get(repo.lower(), self.repository_day_usd)
            case Scope.DAY:
                return self.day_usd


class Override(BaseModel):
    """So many dollars more, for a while; it ends by itself."""

    model_config = ConfigDict(extra="forbid")

    usd: float = Field(gt=0, le=1_000_000, allow_inf_nan=False)
    seconds: float = Field(gt=0, le=LONGEST_OVERRIDE.total_seconds())
    by: str = Field(min_length=1, max_length=200)
    note: str = Field(default="", max_length=2000)
    scope: Scope | None = None
    """None: every limit."""
    repo: refs.Repository | None = None
    """Only turns of this repository; None: of every one."""
    issue: int = 0
    """Only turns of this issue of `repo`; 0: of every one."""
    until: datetime | None = None
    """Set when it is granted."""

    def covers(self, key: "Key", now: datetime) -> bool:
        if self.until is None or self.until <= now or (self.scope or key.scope) is not key.scope:
            return False
        return (self.repo is None or str(self.repo).lower() == key.repo) and self.issue in {0, key.issue}


class Change(BaseModel):
    """An operator's change: new limits (those that are named), or an override."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(min_length=1, max_length=200)
    limits: dict[str, _Finite | dict[str, _Finite] | None] = Field(default_factory=dict)
    """Fields of `Limits` with their new values; `repositories` is merged, 0 removes nothing and means nothing left."""
    forget_repositories: tuple[str, ...] = ()
    override: Override | None = None
    clear_provider: str = ""
    """Ask this provider again at once."""
    seed: bool = False
    """From the installation's configuration: taken only while nobody has changed the limits."""


class Key(BaseModel):
    """What a sum is kept under."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scope: Scope
    name: str
    repo: str = ""
    """Lower case, as a forge compares."""
    issue: int = 0

    @property
    def id(self) -> str:
        return f"{self.scope}/{self.name}"


class Tally(BaseModel):
    """What was booked under one key."""

    model_config = ConfigDict(extra="ignore")

    usd: float = 0
    unknown_usd: float = 0
    """The part of `usd` that is reservations of turns whose cost nobody knows."""
    unknown_of: dict[str, float] = Field(default_factory=dict)
    """That part by issue, of a day's sum: what becomes known of one issue takes nothing of another's away."""
    turns: int = 0
    at: datetime


class Shortage(BaseModel):
    """Why a turn may not begin: one limit that it would break."""

    key: Key
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    estimate_usd: float
    until: datetime | None = None

    def sentence(self) -> str:
        day = self.key.scope in {Scope.DAY, Scope.REPOSITORY}
        who = {
            Scope.RUN: "this run's budget",
            Scope.ISSUE: f"the budget of issue {self.key.name}",
            Scope.REPOSITORY: f"today's budget of {self.key.repo}",
            Scope.DAY: "today's budget",
        }[self.key.scope]
        more = f", ${self.reserved_usd:.2f} is reserved for turns under way" if self.reserved_usd else ""
        ends = f"wait until {self.until:%Y-%m-%d %H:%M} UTC, or " if day and self.until else ""
        return (
            f"{who} of ${self.limit_usd:.2f} has ${self.spent_usd:.2f} spent{more}, and this turn may cost "
            f"${self.estimate_usd:.2f}: {ends}allow more with fettle budget override --usd N --for 2h"
        )


def keys(run: str, run_id: str, repo: refs.Repository, issue: int, now: datetime) -> tuple[Key, ...]:
    """The sums that a turn of this run, beginning now, counts for."""
    place, day = str(repo).lower(), f"{now.astimezone(UTC):%Y-%m-%d}"
    return (
        Key(scope=Scope.RUN, name=f"{run}@{run_id}" if run_id else run, repo=place, issue=issue),
        Key(scope=Scope.ISSUE, name=f"{place}#{issue}", repo=place, issue=issue),
        Key(scope=Scope.REPOSITORY, name=f"{place}/{day}", repo=place),
        Key(scope=Scope.DAY, name=day),
    )


class Book(BaseModel):
    """Limits, overrides, and what was spent. Reservations belong to the turns that hold them."""

    model_config = ConfigDict(extra="ignore")

    limits: Limits = Limits()
    overrides: tuple[Override, ...] = ()
    tallies: dict[str, Tally] = Field(default_factory=dict)
    by_hand: bool = False
    """A person has changed the limits: the configuration counts no more."""
    changed_by: str = ""
    changed_at: datetime | None = None

    def allowed(self, key: Key, now: datetime) -> float | None:
        """The limit with every override that counts now; None: no limit."""
        limit = self.limits.of(key.scope, key.repo)
        if limit is None:
            return None
        return limit + sum(o.usd for o in self.overrides if o.covers(key, now))

    def spent(self, key: Key) -> float:
        tally = self.tallies.get(key.id)
        return tally.usd if tally else 0.0

    def shortage(
        self, wanted: Sequence[Key], estimate: float, reserved: Mapping[str, float], now: datetime
    ) -> Shortage | None:
        """The first limit that this turn could break; None: it may begin.

        A turn fits when it stays within the limit with everything that is spent and reserved. While nothing is
        reserved, one may also begin on whatever is left: so a limit is never passed by more than one reserved turn, and
        a limit below the price of a turn is no standstill.

        Args:
            wanted: The turn's keys.
            estimate: What it would reserve.
            reserved: Dollars reserved by turns under way, by key id.
            now: Decides which overrides count.
        """
        for key in wanted:
            limit = self.allowed(key, now)
            spent, held = self.spent(key), reserved.get(key.id, 0.0)
            if limit is None or spent + held + estimate <= limit or (not held and spent < limit):
                continue
            by_day = key.scope in {Scope.DAY, Scope.REPOSITORY}
            until = _next_day(now) if by_day and spent >= limit else None
            return Shortage(
                key=key, limit_usd=limit, spent_usd=spent, reserved_usd=held, estimate_usd=estimate, until=until
            )
        return None

    def room(self, wanted: Iterable[Key], reserved: Mapping[str, float], now: datetime) -> float | None:
        """What the tightest limit leaves a turn with these keys; None without a limit."""
        left = [
            limit - self.spent(key) - reserved.get(key.id, 0.0)
            for key in wanted
            if (limit := self.allowed(key, now)) is not None
        ]
        return max(0.0, min(left)) if left else None

    def settle(self, booked: Sequence[Key], usd: float, *, known: bool, now: datetime) -> None:
        """Book what a turn cost, or its reservation when nobody knows."""
        issue = _issue(booked)
        for key in booked:
            tally = self.tallies.setdefault(key.id, Tally(at=now))
            tally.usd += usd
            if not known:
                tally.unknown_usd += usd
                if key.scope in _OF_MANY:
                    tally.unknown_of[issue] = tally.unknown_of.get(issue, 0.0) + usd
            tally.turns += 1
            tally.at = now
        self._forget(now)

    def uncover(self, booked: Sequence[Key], usd: float) -> None:
        """So much of what was booked as unknown has become known elsewhere, and is not counted twice. What was booked
        for another day stays there."""
        issue = _issue(booked)
        for key in booked:
            tally = self.tallies.get(key.id)
            if tally is None:
                continue
            less = min(usd, tally.unknown_usd)
            if key.scope in _OF_MANY:
                own = tally.unknown_of.pop(issue, 0.0)
                less = min(less, own)
                if own > less:
                    tally.unknown_of[issue] = own - less
            tally.usd -= less
            tally.unknown_usd -= less

    def take_back(self, booked: Sequence[Key], reserved_usd: float) -> None:
        """A turn that was booked as unknown, at its reservation, is not over as it seemed: as if it were not booked."""
        self.uncover(booked, reserved_usd)
        for key in booked:
            if (tally := self.tallies.get(key.id)) is not None:
                tally.turns = max(0, tally.turns - 1)

    def check(self, change: Change, now: datetime) -> None:
        """Raises errors.Refused when the change cannot be made."""
        if change.seed and self.by_hand:
            raise errors.Refused(
                f"the budgets were changed by {self.changed_by}, so they are not the configuration's any more: change "
                "them with fettle budget set"
            )
        if change.seed and self._changed(change) == self.limits:
            raise errors.Refused("the budgets are as configured already: nothing to change")
        if not (change.limits or change.override or change.forget_repositories or change.clear_provider):
            raise errors.Refused("nothing to change on the budgets: name a limit, see fettle budget set --help")
        self._changed(change)

    def apply(self, change: Change, now: datetime) -> None:
        self.limits = self._changed(change)
        self.overrides = tuple(o for o in self.overrides if o.until and o.until > now)
        if change.override is not None:
            until = now + timedelta(seconds=change.override.seconds)
            self.overrides = (*self.overrides[-49:], change.override.model_copy(update={"until": until}))
        if change.limits or change.forget_repositories:
            self.by_hand = not change.seed
        self.changed_by, self.changed_at = change.by, now

    def _changed(self, change: Change) -> Limits:
        fields = (Limits() if change.seed else self.limits).model_dump()
        own = change.limits.get("repositories")
        more = {name.lower(): usd for name, usd in own.items()} if isinstance(own, dict) else {}
        gone = {name.lower() for name in change.forget_repositories}
        repositories = {n: usd for n, usd in {**fields["repositories"], **more}.items() if n not in gone}
        try:
            return Limits.model_validate({**fields, **change.limits, "repositories": repositories})
        except ValidationError as invalid:
            raise errors.Refused(f"these budgets cannot be set: {roster.problems(invalid)}") from invalid

    def _forget(self, now: datetime) -> None:
        """Days that are over, and the oldest issues and runs beyond what is kept."""
        old = [
            id
            for id, tally in self.tallies.items()
            if id.startswith((f"{Scope.DAY}/", f"{Scope.REPOSITORY}/")) and now - tally.at > _DAYS_KEPT
        ]
        for id in old:
            del self.tallies[id]
        for id in sorted(self.tallies, key=lambda id: (self.tallies[id].at, id))[:-MOST_TALLIES]:
            del self.tallies[id]


def _issue(booked: Iterable[Key]) -> str:
    return next((key.name for key in booked if key.scope is Scope.ISSUE), "")


def _next_day(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
