"""Why a run stands where it stands: its predicate, since when, whose move it is, what ends the wait, by when."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from domain import errors, steps, surroundings, waiting, waits
from domain.numerals import counted
from domain.run import Phase, State


class Explanation(BaseModel):
    """The answer to "why does it not go on?". Times are UTC; `deadline` None means the wait has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    phase: Phase
    step: steps.Step
    waits_for: str
    since: datetime | None
    waited_seconds: float | None
    whose_move: waiting.Mover
    ends_when: str
    deadline: datetime | None = None
    next_command: str
    notes: tuple[str, ...] = ()

    @property
    def overdue_by(self) -> timedelta | None:
        """How long the deadline has passed, None while it has not (or there is none)."""
        if self.deadline is None or self.since is None or self.waited_seconds is None:
            return None
        late = self.since + timedelta(seconds=self.waited_seconds) - self.deadline
        return late if late > timedelta() else None


def explain(state: State, now: datetime, around: surroundings.Surroundings | None = None) -> Explanation:
    """Tell what `state` waits for. `around` adds what other workflows and the server know."""
    around = around or surroundings.Surroundings()
    step = steps.next_step(state)
    wait = waits.wait_at(step, state, around)
    since = state.since
    return Explanation(
        run=str(state.issue),
        phase=state.phase,
        step=step,
        waits_for=wait.waits_for,
        since=since,
        waited_seconds=max(0.0, (now - since).total_seconds()) if since else None,
        whose_move=wait.mover,
        ends_when=wait.ends_when,
        deadline=wait.deadline,
        next_command=wait.command,
        notes=(*_file_note(state), *_notes(around, now)),
    )


_BENIGN = frozenset(e.wire_type() for e in (errors.HostFull, errors.ChecksPending, errors.NothingNew))


def _file_note(state: State) -> tuple[str, ...]:
    """The run works by an older version of the repository's file than its maintainers may think."""
    file = state.policy.workflow
    return (f"{file.problem}; this run goes by {file.source}",) if file and file.problem else ()


def _notes(around: surroundings.Surroundings, now: datetime) -> list[str]:
    """What the server says of calls that were tried before. A poll that found nothing yet is no failure."""
    notes = []
    for call in around.pending:
        if not call.in_retries:
            continue
        if call.failure_type in _BENIGN:
            line = (
                f"{call.activity} has looked {counted(call.attempt - 1, 'time')}: {call.last_failure or 'nothing new'}"
            )
        else:
            line = f"{call.activity} is at attempt {call.attempt}"
            line += f", the last one failed: {call.last_failure}" if call.last_failure else ""
        if call.started:
            line += "; it runs now"
        elif call.next_attempt_at is not None:
            seconds = max(0, round((call.next_attempt_at - now).total_seconds()))
            line += f"; the next one starts in {seconds} s"
        notes.append(line)
    return notes
