"""Where the time of a run went, read from its history: each interval between two events belongs to what ended it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from domain import refs, wire

_ACTIVITY_ENDS: Final = (
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
)


class Segment(NamedTuple):
    """One interval of a history. `label` says what ended it."""

    label: str
    seconds: float


class Ended(NamedTuple):
    """A run that was carried to its end, as its history tells it."""

    started: datetime
    merged: datetime | None
    closed: datetime
    events: int
    """Of the run and of the children it started."""
    segments: list[Segment]
    child_segments: list[Segment]


async def read(client: Client, issue: refs.Issue) -> Ended:
    """The history of an issue's newest run, and of its implementation round."""
    events = await _events(client, issue.workflow_id)
    children: list[HistoryEvent] = []
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
            execution = event.child_workflow_execution_started_event_attributes.workflow_execution
            children += await _events(client, execution.workflow_id, execution.run_id)
    return Ended(
        started=_at(events[0]),
        merged=next((_at(event) for event in events if _signal(event) == wire.MERGE_ENDED), None),
        closed=_at(events[-1]),
        events=len(events) + len(children),
        segments=segments(events),
        child_segments=segments(children),
    )


def segments(events: Sequence[HistoryEvent]) -> list[Segment]:
    """The intervals between consecutive events; their sum is the life of the workflow, while it does one thing at a
    time (an event that was written late, and is older than the one before, adds nothing)."""
    activities: dict[int, str] = {}
    found: list[Segment] = []
    latest: datetime | None = None
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            activities[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        at = _at(event)
        if latest is not None and at > latest:
            found.append(Segment(_label(event, activities), (at - latest).total_seconds()))
        latest = at if latest is None else max(latest, at)
    return found


def totals(runs: Iterable[Sequence[Segment]]) -> dict[str, float]:
    """Seconds per run by label, the largest first: the mean over `runs`."""
    sums: dict[str, float] = defaultdict(float)
    count = 0
    for count, run in enumerate(runs, 1):  # noqa: B007 - the count is used after the loop
        for segment in run:
            sums[segment.label] += segment.seconds
    ordered = sorted(sums.items(), key=lambda item: -item[1])
    return {label: round(seconds / count, 3) for label, seconds in ordered}


def _label(event: HistoryEvent, activities: dict[int, str]) -> str:
    kind = event.event_type
    if kind == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
        return "workflow task: dispatch"
    if kind == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
        return "workflow task: work"
    if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
        name = activities[event.activity_task_started_event_attributes.scheduled_event_id]
        return f"{name}: dispatch"
    if kind in _ACTIVITY_ENDS:
        return f"{activities[_attributes(event).scheduled_event_id]}: work"
    if signal := _signal(event):
        return f"signal {signal}"
    return EventType.Name(kind).removeprefix("EVENT_TYPE_").lower().replace("_", " ")


def _attributes(event: HistoryEvent) -> Any:
    """The one set of attributes that an event has."""
    return getattr(event, event.WhichOneof("attributes") or "")


def _signal(event: HistoryEvent) -> str:
    if event.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        return ""
    return event.workflow_execution_signaled_event_attributes.signal_name


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)


async def _events(client: Client, workflow_id: str, run_id: str | None = None) -> list[HistoryEvent]:
    return list((await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()).events)
