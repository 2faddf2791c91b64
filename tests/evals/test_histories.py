"""Where the time of a run went, by its events."""

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from evals import histories

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(number: int, kind: "EventType.ValueType", after: float) -> HistoryEvent:
    """An event that happened `after` seconds from the beginning."""
    made = HistoryEvent(event_id=number, event_type=kind)
    made.event_time.FromDatetime(BEGAN + timedelta(seconds=after))
    return made


def activity(number: int, name: str, times: tuple[float, float, float]) -> list[HistoryEvent]:
    """An activity that was scheduled, started and completed at these seconds."""
    scheduled = event(number, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, times[0])
    scheduled.activity_task_scheduled_event_attributes.activity_type.name = name
    started = event(number + 1, EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED, times[1])
    started.activity_task_started_event_attributes.scheduled_event_id = number
    completed = event(number + 2, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, times[2])
    completed.activity_task_completed_event_attributes.scheduled_event_id = number
    return [scheduled, started, completed]


def test_an_activity_is_split_into_its_dispatch_and_its_work() -> None:
    begin = event(1, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 0)
    found = histories.totals([histories.segments([begin, *activity(2, "open_run", (0, 0.5, 2))])])
    assert found == {"open_run: work": 1.5, "open_run: dispatch": 0.5}


def test_the_segments_of_a_history_add_up_to_its_life() -> None:
    events = [
        event(1, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 0),
        event(2, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED, 0.25),
        event(3, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 0.5),
        *activity(4, "claim_issue", (0.5, 1, 3)),
        event(7, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, 4),
    ]
    assert sum(segment.seconds for segment in histories.segments(events)) == pytest.approx(4)


def test_an_event_that_was_written_late_counts_nothing_twice() -> None:
    events = [
        event(1, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 0),
        event(2, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED, 2),
        event(3, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, 1),
        event(4, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, 3),
    ]
    assert [segment.seconds for segment in histories.segments(events)] == [2, 1]


def test_totals_are_seconds_per_run() -> None:
    runs = [[histories.Segment("wait", 2)], [histories.Segment("wait", 4), histories.Segment("work", 8)]]
    assert histories.totals(runs) == {"work": 4, "wait": 3}
