"""Who came first: turns in line for a place with an agent, and how long a free place is kept for each of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain.pool import BeginTurn

OWN_TURN_SECONDS: Final = 15
"""How long a free place is kept for each turn that came earlier. One that waits asks more often; one that does not ask
any more (its run was stopped) keeps nobody waiting longer than that."""
MOST_WAITING: Final = 500


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Waiter(Model):
    """A turn in line for a place. It is written down once, when it begins to wait."""

    turn: str
    run: str
    group: tuple[str, ...] = ()
    priority: int = 3
    order: int = 0
    since: datetime


class Line(Model):
    """Turns that wait, and when a place was last given back."""

    waiters: tuple[Waiter, ...] = ()
    arrivals: int = 0
    freed: dict[str, datetime] = Field(default_factory=dict)
    """By agent, for those with a limit."""

    def takes(self, asked: BeginTurn) -> bool:
        """Whether this turn is not in line yet, and there is room for it."""
        return all(w.turn != asked.turn for w in self.waiters) and len(self.waiters) < MOST_WAITING

    def join(self, asked: BeginTurn, group: tuple[str, ...], now: datetime) -> None:
        """A run waits for one turn at a time: an earlier one that it waited for is over."""
        self.arrivals += 1
        waiter = Waiter(
            turn=asked.turn, run=asked.run, group=group, priority=asked.priority, order=self.arrivals, since=now
        )
        self.waiters = (*(w for w in self.waiters if w.run != asked.run), waiter)

    def leave(self, asked: BeginTurn, group: Sequence[str], now: datetime) -> None:
        """This turn begins. Who came earlier and has let its moment pass does not ask any more; if it does, it takes a
        place at the end."""
        passed = {w.turn for w in self.ahead(asked, group)} if self._kept(group, now, 1) else set()
        self.waiters = tuple(w for w in self.waiters if w.run != asked.run and w.turn not in passed)

    def forget(self, runs: Sequence[str]) -> None:
        self.waiters = tuple(w for w in self.waiters if w.run not in runs)

    def ahead(self, asked: BeginTurn, group: Sequence[str]) -> list[Waiter]:
        """Who stands in line before this turn, for one of these agents."""
        own = next((w for w in self.waiters if w.turn == asked.turn), None)
        place = (asked.priority, own.order if own else self.arrivals + 1)
        others = [w for w in self.waiters if w.turn != asked.turn and not set(group).isdisjoint(w.group)]
        return [w for w in others if (w.priority, w.order) < place]

    def lets_pass(self, asked: BeginTurn, group: Sequence[str], free: int, now: datetime) -> bool:
        """Whether one of `free` places of these agents is for this turn."""
        ahead = len(self.ahead(asked, group))
        return ahead < free or self._kept(group, now, ahead - free + 1)

    def _kept(self, group: Sequence[str], now: datetime, turns: int) -> bool:
        """Whether the newest free place of these agents was kept for so many turns in line."""
        freed = max((self.freed[name] for name in group if name in self.freed), default=None)
        return freed is None or now >= freed + timedelta(seconds=OWN_TURN_SECONDS * turns)
