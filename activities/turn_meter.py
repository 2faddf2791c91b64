"""Totals of a session over its processes, whether its CLI counts over resumes, or anew in each process."""

from typing import Protocol

from activities import turn_fence
from domain import agent


class Counted(Protocol):
    """An event, or the verdict on all of them."""

    @property
    def cost_usd(self) -> float | None: ...
    @property
    def cost_is_of_session(self) -> bool: ...
    @property
    def usage(self) -> agent.Usage | None: ...
    @property
    def usage_is_of_session(self) -> bool: ...


class Meter:
    """Reads one process's events into the session's record. What the CLI does not say stays unknown."""

    def __init__(self, record: turn_fence.Record, *, fresh: bool) -> None:
        self._record = record
        self._cost_before = record.cost or 0.0
        self._usage_before = record.usage
        self._fresh = fresh

    def see(self, event: Counted) -> None:
        """Take in what an event says, and the verdict at the end: some CLIs count steps, and only their sum is one."""
        if event.cost_usd is not None:
            counts_all = event.cost_is_of_session and not self._fresh
            self._record.cost = event.cost_usd if counts_all else self._cost_before + event.cost_usd
        if event.usage is not None:
            counts_all = event.usage_is_of_session and not self._fresh
            self._record.usage = event.usage if counts_all else _sum(self._usage_before, event.usage)


def cost_between(before: float | None, now: float | None) -> float | None:
    return None if now is None else max(0.0, now - (before or 0.0))


def usage_between(before: agent.Usage | None, now: agent.Usage | None) -> agent.Usage | None:
    if now is None:
        return None
    pairs = {name: (getattr(before, name) if before else None, getattr(now, name)) for name in turn_fence.COUNTS}
    return agent.Usage(
        **{name: None if new is None else max(0, new - (old or 0)) for name, (old, new) in pairs.items()}
    )


def _sum(one: agent.Usage | None, other: agent.Usage) -> agent.Usage:
    pairs = {name: (getattr(one, name) if one else None, getattr(other, name)) for name in turn_fence.COUNTS}
    return agent.Usage(
        **{name: None if a is None and b is None else (a or 0) + (b or 0) for name, (a, b) in pairs.items()}
    )
