"""The fleet's switches, and the admission of runs to one repository."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from domain import errors, refs, turns
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


class Waiting(Model):
    run: str
    priority: int = 3
    order: int = 0
    state: str = ""
    state_limit: int | None = None


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

    def ask(self, request: AdmissionRequest) -> None:
        self.max_in_flight = request.max_in_flight
        self.waiting = tuple(w for w in self.waiting if w.run != request.run)
        if request.run in self.running:  # it lost the answer: it is told again, ahead of everybody
            self.running = tuple(r for r in self.running if r != request.run)
            self.waiting = (Waiting(run=request.run, priority=0, state=self.states.pop(request.run, "")), *self.waiting)
            return
        self.arrivals += 1
        waiting = Waiting(
            run=request.run,
            priority=request.priority,
            order=self.arrivals,
            state=request.state,
            state_limit=request.state_limit,
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
        self.waiting = tuple(w for w in self.waiting if w.run != run)

    def configure(self, settings: Settings) -> None:
        if self.settings is None or settings.revision >= self.settings.revision:
            self.settings = settings

    def next_admission(self) -> str | None:
        """The run to admit now: highest priority (1) first, then first come, while there is room and no pause."""
        if self.settings is None or self.settings.paused or not self.waiting:
            return None
        if len(self.running) >= self.max_in_flight:
            return None
        fitting = [w for w in self.waiting if self._has_room(w)]
        return min(fitting, key=lambda w: (w.priority, w.order)).run if fitting else None

    def _has_room(self, waiting: Waiting) -> bool:
        alike = sum(state == waiting.state for state in self.states.values())
        return waiting.state_limit is None or alike < waiting.state_limit

    def admit(self, run: str) -> None:
        self.states |= {w.run: w.state for w in self.waiting if w.run == run and w.state}
        self.waiting = tuple(w for w in self.waiting if w.run != run)
        self.running = (*self.running, run)
