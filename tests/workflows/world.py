"""The outside world of runs: one forge repository and its agent hosts in memory, with switches and a record of effects.

`tests.workflows.outside` puts it behind the activities' wire names.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from temporalio import activity

from domain import agent, errors, path_leases, refs, run, wire, work
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows.repository import Repository

GREEN, RED, PENDING, NONE = "green", "red", "pending", "none"
HEARTBEATING = {
    wire.RUN_AGENT,
    wire.VERIFY_COMMIT,
    wire.PREPARE_WORKTREE,
    wire.INTEGRATE_WORK,
    wire.JUDGE_REVIEW,
    wire.PREDICT_CONFLICTS,
}
"""Activities of which the real ones heartbeat, and so hear of a cancel while they work."""


@dataclass(frozen=True)
class Effect:
    """Something that was written to the forge or to a host."""

    name: str
    subject: str


class Stop:
    """An activity that stands still at its door until it is let in; `reached` tells that it has come."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def pause(self, *, heartbeats: bool) -> None:
        """A cancel is heard by heartbeats only: a call to the forge goes on to its end."""
        self.reached.set()
        waiting = asyncio.ensure_future(self.open.wait())
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=0.05 if heartbeats else None)
                if heartbeats:
                    activity.heartbeat()
        finally:
            waiting.cancel()


@dataclass
class Turn:
    """What the agent does in one turn. `files` None: one file of the issue's own; empty: nothing."""

    files: Mapping[str, str] | None = None
    error: errors.FettleError | None = None
    refuses: bool = False
    asks: agent.Question | None = None
    limited: bool = False
    """The turn ends at the CLI's own limit, with its work half done."""
    alone: bool = False
    """The forge takes no work in progress: what the turn leaves is on its host alone."""
    cost_usd: float | None = None


@dataclass
class Host:
    host_id: str
    slots: int = 20
    backends: tuple[tuple[str, str], ...] = (("scripted", "1"), ("claude", "2.1.328"))
    leases: dict[str, str] = field(default_factory=dict)
    worktrees: dict[str, str] = field(default_factory=dict)
    """Commit that each run's worktree is at, by run."""


class World:
    """One repository. Attributes that tests set are switches; `effects` and `calls` are what happened."""

    def __init__(self, repo: refs.Repository, hosts: Mapping[str, Host]) -> None:
        self.repo = repo
        self.hosts = hosts
        self.forge = Repository(str(repo))
        self.policy = RepositoryPolicy()
        self.mode = ApprovalMode.FULL_AUTO
        self.judge = "none"
        self.backend = "scripted"
        self.ci_poll_seconds = 0.1
        self.gate_poll_seconds = 0.1
        self.ci = GREEN
        self.ci_of: dict[str, str] = {}
        self.ci_next: deque[str] = deque()
        """Verdicts of commits in the order in which CI is first asked about them; then `ci`."""
        self.turns: dict[int, deque[Turn]] = {}
        self.findings: deque[tuple[work.SafetyFinding, ...]] = deque()
        self.in_progress: dict[str, str] = {}
        """The work in progress of each run as the forge holds it."""
        self.verifies: deque[bool] = deque()
        self.verdicts: deque[tuple[str, ...]] = deque()
        """Blocking findings of the reviewing model, one entry a review; then none."""
        self.before: dict[str, deque[Exception]] = {}
        self.after: dict[str, deque[Exception]] = {}
        """Errors of an activity before, and after, it did its work."""
        self.pushes_before_merge: deque[Callable[[], object]] = deque()
        self.stops: dict[str, Stop] = {}
        self.calls: list[tuple[str, str]] = []
        self.effects: list[Effect] = []
        self.turn_requests: list[agent.TurnRequest] = []
        self.prepared: list[work.PrepareWorktree] = []
        self.integrations: list[work.IntegrateWork] = []
        self.collisions: dict[tuple[int, int], float] = {}
        """How likely two issues, by their numbers, change a file in common; those that are not named never do."""
        self.asked: list[path_leases.Question] = []
        self.unreadable = False
        """What an agent left cannot be noted."""
        self.inside = 0
        """Activities that are running."""
        self.live: set[str] = set()
        """Runs with an agent at work."""
        self._moved = asyncio.Condition()

    # --- what tests do ---

    def issue(
        self, number: int, title: str = "", *, body: str = "", labels: tuple[str, ...] = ("fettle",)
    ) -> refs.Issue:
        from tests.workflows.repository import Issue

        self.forge.issues[number] = Issue(title or f"Do {number}", body, labels=set(labels))
        return self.repo.issue(number)

    def stop(self, name: str) -> Stop:
        """The next call of this activity stands still."""
        self.stops[name] = Stop()
        return self.stops[name]

    async def called(self, name: str, times: int = 1, *, subject: str = "") -> None:
        """Wait until an activity was called so many times, retries included."""
        await self.until(lambda: self.count(name, subject) >= times)

    async def until(self, true: Callable[[], bool], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds), self._moved:
            await self._moved.wait_for(true)

    def count(self, name: str, subject: str = "") -> int:
        return sum(called == name and (not subject or subject == about) for called, about in self.calls)

    def effect_counts(self) -> Counter[str]:
        return Counter(e.name for e in self.effects)

    # --- what activities do ---

    async def write(self, name: str, subject: object) -> None:
        self.effects.append(Effect(name, str(subject)))
        await self._notify()

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    @asynccontextmanager
    async def call(self, name: str, subject: object):  # type: ignore[no-untyped-def] # the decorator gives the type
        """Around every fake activity: the record, the stop, the errors before and after."""
        self.calls.append((name, str(subject)))
        self.inside += 1
        await self._notify()
        try:
            if stop := self.stops.pop(name, None):
                await stop.pause(heartbeats=name in HEARTBEATING)
            if self.before.get(name):
                raise self.before[name].popleft()
            yield
            if self.after.get(name):
                raise self.after[name].popleft()
        finally:
            self.inside -= 1
            await self._notify()

    def ci_verdict(self, sha: str) -> str:
        if sha not in self.ci_of and self.ci_next:
            self.ci_of[sha] = self.ci_next.popleft()
        return self.ci_of.get(sha, self.ci)

    def next_turn(self, issue: refs.Issue) -> Turn:
        turns = self.turns.get(issue.number)
        return turns.popleft() if turns else Turn()

    def host_of(self, workflow_id: str) -> Host | None:
        return next((h for h in self.hosts.values() if workflow_id in h.leases), None)


def labels_of(phase: run.Phase) -> str:
    return {
        run.Phase.DONE: wire.LABEL_DONE,
        run.Phase.FAILED: wire.LABEL_FAILED,
        run.Phase.CANCELLED: wire.LABEL_CANCELLED,
        run.Phase.REJECTED: wire.LABEL_REJECTED,
    }[phase]
