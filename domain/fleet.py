"""The fleet's switches, and the admission of runs to one repository."""

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from domain import errors, path_leases, refs, turns
from domain.policy import ApprovalMode


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Settings(Model):
    """What every repository needs to know of the fleet. `revision` grows with each change, so an old one that arrives
    late is dropped."""

    paused: bool = False
    mode: ApprovalMode = ApprovalMode.REVIEW_MERGE
    revision: int = 0


class Change(Model):
    """An operator's change; None leaves a switch as it is."""

    by: str = Field(min_length=1, max_length=200)
    paused: bool | None = None
    mode: ApprovalMode | None = None
    note: str = Field(default="", max_length=2000)


class FleetState(Model):
    settings: Settings = Settings()
    repositories: tuple[refs.Repository, ...] = ()
    changed_by: str = ""
    note: str = ""
    changed_at: datetime | None = None
    untold: tuple[refs.Repository, ...] = ()
    """Repositories that have not been sent the present settings yet."""
    pool: turns.State = Field(default_factory=turns.State)
    """Agents, budgets and the turns under way; told by a query of its own, see `switches`."""

    def switches(self) -> "FleetState":
        """The state without its agents, whose appendices and sums are large."""
        return self.model_copy(update={"pool": turns.State()})

    def check(self, change: Change) -> None:
        """Raises errors.Refused when the change asks for what already is."""
        if change.paused is None and change.mode is None:
            raise errors.Refused("nothing to change on the fleet: name pause, resume or an approval mode")
        if change.mode is None and change.paused == self.settings.paused:
            since = f" since {self.changed_at:%Y-%m-%d %H:%M}" if self.changed_at else ""
            raise errors.Refused(f"the fleet is {'paused' if self.settings.paused else 'not paused'} already{since}")

    def apply(self, change: Change, at: datetime) -> None:
        old = self.settings
        self.settings = Settings(
            paused=old.paused if change.paused is None else change.paused,
            mode=change.mode or old.mode,
            revision=old.revision + 1,
        )
        self.changed_by, self.note, self.changed_at = change.by, change.note, at
        self.untold = self.repositories

    def seen(self, repo: refs.Repository) -> None:
        """A repository reported in: it is told the settings, even when it was known (it may have been restarted)."""
        if repo not in self.repositories:
            self.repositories = (*self.repositories, repo)
        if repo not in self.untold:
            self.untold = (*self.untold, repo)


class AdmissionRequest(Model):
    run: str
    """Workflow id of the run; asking twice is asking once."""
    priority: int = 3
    max_in_flight: int = 4
    state: str = ""
    """State of the issue, in the words of the repository's file."""
    state_limit: int | None = None
    """Most runs at once of issues in that state."""
    max_collision: float = path_leases.NEVER
    """How likely it may be to change a file in common with a run in flight. Requests of before path leases do not say,
    so their histories replay as they were made."""
    base_branch: str = ""


class Waiting(Model):
    run: str
    priority: int = 3
    order: int = 0
    state: str = ""
    state_limit: int | None = None
    max_collision: float = path_leases.NEVER
    base_branch: str = ""
    outlook: path_leases.Outlook = path_leases.Outlook()

    @property
    def leases(self) -> bool:
        """Whether it waits for other runs' files at all."""
        return self.max_collision < path_leases.NEVER


class RepositoryState(Model):
    """Who may work on one repository at once. `settings` None: the fleet has not answered yet, nobody is admitted."""

    repo: refs.Repository
    settings: Settings | None = None
    max_in_flight: int = 4
    running: tuple[str, ...] = ()
    states: dict[str, str] = {}
    """State of the issue of each running run, as it was when it was admitted."""
    waiting: tuple[Waiting, ...] = ()
    arrivals: int = 0
    unforeseen: dict[str, str] = {}
    """Running runs that were admitted without a whole forecast, with the reason."""

    def ask(self, request: AdmissionRequest) -> None:
        self.max_in_flight = request.max_in_flight
        known = next((w for w in self.waiting if w.run == request.run), None)
        self.waiting = tuple(w for w in self.waiting if w.run != request.run)
        if request.run in self.running:  # it lost the answer: it is told again, ahead of everybody
            self.running = tuple(r for r in self.running if r != request.run)
            self.waiting = (Waiting(run=request.run, priority=0, state=self.states.pop(request.run, "")), *self.waiting)
            return
        self.arrivals += 1
        waived = known is not None and known.leases and request.max_collision >= path_leases.NEVER
        waiting = Waiting(
            run=request.run,
            priority=request.priority,
            order=known.order if known and waived else self.arrivals,
            state=request.state,
            state_limit=request.state_limit,
            max_collision=request.max_collision,
            base_branch=request.base_branch,
            outlook=known.outlook.asked_again(known.leases) if known else path_leases.Outlook(),
        )
        self.waiting = (*self.waiting, waiting)

    def admit_or_queue(self, request: AdmissionRequest) -> bool:
        """Whether the run may begin now; if not, it is in line and will be told."""
        self.ask(request)
        if self.next_admission() != request.run:
            return False
        self.admit(request.run)
        return True

    def ended(self, run: str) -> None:
        self.running = tuple(r for r in self.running if r != run)
        self.states.pop(run, None)
        self.unforeseen.pop(run, None)
        self.waiting = tuple(
            w.model_copy(update={"outlook": w.outlook.without(run)}) for w in self.waiting if w.run != run
        )

    def after_push(self, runs: Sequence[str]) -> None:
        """These runs have pushed work by now: who waits for them is compared with that."""
        self.waiting = tuple(w.model_copy(update={"outlook": w.outlook.after_push(runs)}) for w in self.waiting)

    def configure(self, settings: Settings) -> None:
        if self.settings is None or settings.revision >= self.settings.revision:
            self.settings = settings

    def next_admission(self) -> str | None:
        """The run to admit now, while there is room and no pause: highest priority (1) first, then first come. One that
        waits for somebody's files is passed by those behind it whose work collides neither with the runs in flight nor
        with its own."""
        candidate = self._candidate()
        return candidate.run if candidate and not self._uncompared(candidate) else None

    def next_comparison(self) -> path_leases.Question | None:
        """What has to be known before anybody can be admitted."""
        candidate = self._candidate()
        if candidate is None or not (others := self._uncompared(candidate)):
            return None
        return path_leases.Question(repo=self.repo, run=candidate.run, others=others, base_branch=candidate.base_branch)

    def compare(self, question: path_leases.Question, forecast: path_leases.Forecast) -> None:
        """Take in an answer. What it says of a run that is gone by now says nothing any more."""
        here = tuple(run for run in question.others if run in self.running or self.in_line(run))
        asked = question.model_copy(update={"others": here})
        self._change(question.run, lambda w: w.outlook.with_answer(asked, forecast, w.max_collision))

    def in_line(self, run: str) -> bool:
        return any(w.run == run for w in self.waiting)

    def behind(self, run: str) -> tuple[path_leases.Pair, ...]:
        """For whose files a run in line waits: runs in flight, and those ahead of it that wait themselves."""
        return next((behind for waiting, behind in self._line() if waiting.run == run), ())

    def held_back(self) -> tuple[str, ...]:
        """Runs in line that wait for files, and so hold back those behind them with which they collide."""
        return tuple(waiting.run for waiting, behind in self._line() if behind)

    def untold(self) -> tuple[str, tuple[path_leases.Pair, ...]] | None:
        """A run in line that waits for other ones than it knows, and for whom."""
        return next(((w.run, behind) for w, behind in self._line() if _runs(behind) != w.outlook.told), None)

    def told(self, run: str, behind: tuple[path_leases.Pair, ...]) -> None:
        self._change(run, lambda w: w.outlook.model_copy(update={"told": _runs(behind)}))

    def crowd(self, run: str) -> tuple[str, ...]:
        """Runs ahead of one in line that wait for files, where they are so many that it may not pass them."""
        ahead = tuple(itertools.takewhile(lambda place: place[0].run != run, self._line()))
        held = tuple(waiting.run for waiting, behind in ahead if behind)
        leases = any(w.run == run and w.leases for w in self.waiting)
        return held if leases and len(held) >= path_leases.MOST_HELD_BACK else ()

    def place(self, run: str) -> int:
        """Its place in line, from 1; 0 when it is not in line."""
        return next((place for place, (waiting, _) in enumerate(self._line(), 1) if waiting.run == run), 0)

    def admit(self, run: str) -> None:
        """Whom it does not collide with need not be compared with it: asked the other way round, and about work that it
        has pushed by then, every run that passes could hold back again whom it has passed."""
        passed = {other for w in self.waiting if w.run == run for other in w.outlook.cleared()}
        self.waiting = tuple(
            w.model_copy(update={"outlook": w.outlook.passed_by(run)}) if w.run in passed else w for w in self.waiting
        )
        self.states |= {w.run: w.state for w in self.waiting if w.run == run and w.state}
        self.unforeseen |= {w.run: w.outlook.missing for w in self.waiting if w.run == run and w.outlook.missing}
        self.waiting = tuple(w for w in self.waiting if w.run != run)
        self.running = (*self.running, run)

    def _candidate(self) -> Waiting | None:
        """The first in line that may have a place as far as forecasts were asked for."""
        if self.settings is None or self.settings.paused or len(self.running) >= self.max_in_flight:
            return None
        held = 0
        for waiting, behind in self._line():
            passes = not waiting.leases or held < path_leases.MOST_HELD_BACK
            if not behind and passes and self._has_room(waiting):
                return waiting
            held += bool(behind)
        return None

    def _uncompared(self, candidate: Waiting) -> tuple[str, ...]:
        """With whom it has yet to be compared: with runs in flight, and with those held back that it would pass. So
        what holds a run back only becomes less, and nobody waits for ever."""
        if not candidate.leases:
            return ()
        ahead = itertools.takewhile(lambda place: place[0].run != candidate.run, self._line())
        held = [waiting.run for waiting, behind in ahead if behind]
        others = (*self.running[-path_leases.MOST_IN_FLIGHT :], *held)
        return tuple(run for run in others if run not in candidate.outlook.compared)

    def _line(self) -> list[tuple[Waiting, tuple[path_leases.Pair, ...]]]:
        """Who waits, in order, each with those for whose files it waits."""
        held: list[str] = []
        line = []
        for waiting in sorted(self.waiting, key=lambda w: (w.priority, w.order)):
            behind = waiting.outlook.behind((*self.running, *held), waiting.max_collision)
            line.append((waiting, behind))
            held += [waiting.run] if behind else []
        return line

    def _has_room(self, waiting: Waiting) -> bool:
        alike = sum(state == waiting.state for state in self.states.values())
        return waiting.state_limit is None or alike < waiting.state_limit

    def _change(self, run: str, outlook: Callable[[Waiting], path_leases.Outlook]) -> None:
        self.waiting = tuple(w.model_copy(update={"outlook": outlook(w)}) if w.run == run else w for w in self.waiting)


def _runs(pairs: tuple[path_leases.Pair, ...]) -> tuple[str, ...]:
    return tuple(pair.run for pair in pairs)
