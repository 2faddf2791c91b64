"""Time-outs and retries of every activity, as one table. Workflows splat a row: `**options.MERGE`.

`start_to_close` bounds one attempt, `schedule_to_close` all of them, `schedule_to_start` the wait for a host that may
be dead, `heartbeat` the silence of an attempt. Most rows cap time, not attempts: a forge that is down for a while is
waited for, and what no retry helps is marked not retryable where the error is translated (`activities.edge`).
"""

from datetime import timedelta
from typing import Final, TypedDict

from temporalio import common, workflow

from domain import errors, wire

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Options(TypedDict, total=False):
    """The part of `workflow.ActivityConfig` that a row may set; the summary belongs to the call."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    schedule_to_start_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: common.RetryPolicy
    cancellation_type: workflow.ActivityCancellationType


class AgentsOptions(Options):
    """A row whose work any agent host may do."""

    task_queue: str


_BACKOFF = common.RetryPolicy(initial_interval=SECOND, backoff_coefficient=2.0, maximum_interval=MINUTE)

_AGENT_TYPES = [
    e.wire_type()
    for e in (
        errors.AgentCrashed,
        errors.AgentStalled,
        errors.AgentTimedOut,
        errors.AgentRefused,
        errors.AgentUnavailable,
        errors.AgentLoggedOut,
        errors.QuotaExhausted,
        errors.HookFailed,
    )
]
"""An agent's own failures end the activity: the workflow's ladder (budget, stronger model) decides. What Temporal
retries is the loss of the worker, and every attempt resumes the same session."""

FORGE: Final[Options] = {
    "start_to_close_timeout": 60 * SECOND,
    "schedule_to_close_timeout": 30 * MINUTE,
    "retry_policy": _BACKOFF,
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""Reads and keyed writes: a retry looks the effect up first. A cancelled run waits for the call that is under way, so
that nothing is written after its last word; between two attempts a cancel takes effect at once."""

JUDGE: Final[AgentsOptions] = {
    "task_queue": wire.AGENTS_QUEUE,
    "start_to_close_timeout": 10 * MINUTE,
    "schedule_to_close_timeout": 25 * HOUR,
    "heartbeat_timeout": MINUTE,
    "retry_policy": common.RetryPolicy(initial_interval=2 * SECOND, maximum_interval=MINUTE),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""A judgement waits for money and its provider like a turn: a day's budget is new within a day. `activities.judging`
gives up after a few answers of no use."""

ADVISE: Final[AgentsOptions] = {**JUDGE, "schedule_to_close_timeout": HOUR}
"""A judgement in whose place a rule stands."""

FORECAST: Final[AgentsOptions] = {
    "task_queue": wire.AGENTS_QUEUE,
    "schedule_to_start_timeout": 15 * SECOND,
    "start_to_close_timeout": 90 * SECOND,
    "schedule_to_close_timeout": 2 * MINUTE,
    "heartbeat_timeout": 20 * SECOND,
    "retry_policy": common.RetryPolicy(initial_interval=SECOND, maximum_attempts=2),
}
"""A run in line waits for it, so it is short: without an answer the run is admitted."""

CLAIM_HOST: Final[AgentsOptions] = {
    "task_queue": wire.AGENTS_QUEUE,
    "start_to_close_timeout": 15 * SECOND,
    "retry_policy": common.RetryPolicy(initial_interval=SECOND, backoff_coefficient=1.5, maximum_interval=10 * SECOND),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""No overall limit: when every host is full or away, the run waits for one, and `fettle explain` says so."""


class LocalOptions(TypedDict):
    """A row for a call that is made within a workflow task: one event, and no retry of its own."""

    start_to_close_timeout: timedelta
    retry_policy: common.RetryPolicy


AT_ONCE: Final[LocalOptions] = {
    "start_to_close_timeout": 5 * SECOND,
    "retry_policy": common.RetryPolicy(maximum_attempts=1),
}
"""The pool and the merge queue answer within milliseconds; when one does not, or says 'wait', the same call is made
durably."""

BEGIN_TURN: Final[Options] = {
    "start_to_close_timeout": 30 * SECOND,
    "retry_policy": common.RetryPolicy(initial_interval=2 * SECOND, backoff_coefficient=1.5, maximum_interval=MINUTE),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""No overall limit: a turn waits for its slot, its budget or its provider as long as it takes, at no cost and without
an event; what is known of the end of the wait comes with the refusal."""

HOST: Final[Options] = {
    "start_to_close_timeout": 5 * MINUTE,
    "schedule_to_start_timeout": 2 * MINUTE,
    "schedule_to_close_timeout": 30 * MINUTE,
    "heartbeat_timeout": 30 * SECOND,
    "retry_policy": common.RetryPolicy(initial_interval=SECOND, maximum_interval=30 * SECOND, maximum_attempts=5),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""Disk work on the leased host. A host admits at claim time, so a task that does not start means a dead host."""

VERIFY: Final[Options] = {
    "start_to_close_timeout": 2 * HOUR + 5 * MINUTE,
    "schedule_to_start_timeout": 2 * MINUTE,
    "schedule_to_close_timeout": 5 * HOUR,
    "heartbeat_timeout": 30 * SECOND,
    "retry_policy": common.RetryPolicy(initial_interval=SECOND, maximum_interval=30 * SECOND, maximum_attempts=5),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""The command's own limit is the policy's; this one only catches a lost worker."""

_RUN_AGENT: Final[Options] = {
    "schedule_to_start_timeout": 20 * SECOND,
    "heartbeat_timeout": 15 * SECOND,
    "retry_policy": common.RetryPolicy(
        initial_interval=SECOND, maximum_interval=30 * SECOND, non_retryable_error_types=_AGENT_TYPES
    ),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""Fifteen seconds of silence mean the worker is gone; after twenty more without it on its queue another host goes on
from the newest checkpoint, which is cheap. Cancellation waits until the agent's last process is gone."""

CLEAN_UP: Final[Options] = {
    "start_to_close_timeout": 2 * MINUTE,
    "schedule_to_start_timeout": 30 * SECOND,
    "schedule_to_close_timeout": 3 * MINUTE,
    "retry_policy": common.RetryPolicy(initial_interval=SECOND, maximum_attempts=3),
}
"""Best effort: a dead host's disk is not worth a run's end."""

CLEARANCE: Final[Options] = {
    "start_to_close_timeout": 20 * SECOND,
    "schedule_to_close_timeout": 2 * MINUTE,
    "retry_policy": _BACKOFF,
}
"""A run answers within one workflow task; one that does not is stopped or gone, and must not block the branch."""

MERGE: Final[Options] = {
    "start_to_close_timeout": MINUTE,
    "schedule_to_close_timeout": 30 * MINUTE,
    "retry_policy": _BACKOFF,
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
"""Bound to a head SHA; a retry finds the merge that a lost answer hid."""


def agent_turn(turn_seconds: float) -> Options:
    """The policy bounds the turn; a quarter of an hour more lets the activity end it by itself."""
    row = _RUN_AGENT.copy()
    row["start_to_close_timeout"] = timedelta(seconds=turn_seconds) + 15 * MINUTE
    row["schedule_to_close_timeout"] = 4 * row["start_to_close_timeout"]
    return row


def watch(poll_seconds: float, budget_seconds: float | None = None) -> Options:
    """A wait that costs no event while it lasts: a poll whose 'not yet' is a benign failure that is retried.

    `budget_seconds` None waits without an end (a person's move has no deadline of ours).
    """
    row: Options = {
        "start_to_close_timeout": MINUTE,
        "retry_policy": common.RetryPolicy(initial_interval=timedelta(seconds=poll_seconds), backoff_coefficient=1.0),
    }
    if budget_seconds is not None:
        row["schedule_to_close_timeout"] = timedelta(seconds=budget_seconds)
    return row
