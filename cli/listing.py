"""The list of runs: Visibility for the list itself, each run's own snapshot only for the rows that are shown."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from cli import failures, names, runs
from domain import path_leases, refs, wire

_PAGE: Final = 1000
_AT_ONCE: Final = 10
"""Snapshot queries in flight: each costs a worker some work."""
_ANSWER: Final = timedelta(seconds=2)
_INCIDENT: Final = "incident"
_ISSUE: Final = "issue"


class Row(BaseModel):
    """One run in the list. `since` is the entry into its phase where its snapshot was read, else its start."""

    run: str
    kind: str
    repo: str
    issue: int | None
    title: str | None = None
    phase: str
    hold: str
    agent: str
    since: datetime | None
    needs_human: bool
    pull_request: int | None = None
    pull_request_url: str | None = None
    head_sha: str | None = None
    waits_for: str | None = None
    """For whose files it waits, in words."""
    status: str = "running"


@dataclass(frozen=True)
class Filter:
    repo: refs.Repository | None = None
    phase: str = ""
    needs_human: bool = False
    ended_too: bool = False

    def query(self) -> str:
        """The Visibility query. A continued run is one run, so its earlier parts are left out."""
        parts = [f"{wire.SA_KIND} IN ('{_ISSUE}', '{_INCIDENT}')"]
        parts.append("ExecutionStatus != 'ContinuedAsNew'" if self.ended_too else "ExecutionStatus = 'Running'")
        if self.repo is not None:
            parts.append(f"{wire.SA_REPO} = '{self.repo}'")  # a parsed repository holds no quote
        if self.phase:
            parts.append(f"{wire.SA_PHASE} = '{self.phase}'")
        if self.needs_human:
            parts.append(f"{wire.SA_NEEDS_HUMAN} = true")
        return " AND ".join(parts)


async def rows(client: Client, wanted: Filter) -> list[Row]:
    """Every run that matches: incidents first, then those that need a person, then the oldest."""
    newest: dict[str, tuple[datetime, Row]] = {}
    async for execution in client.list_workflows(wanted.query(), page_size=_PAGE):
        row = _row(execution)
        if row is not None and (row.run not in newest or newest[row.run][0] < execution.start_time):
            newest[row.run] = (execution.start_time, row)
    return sort([row for _, row in newest.values()])


def sort(unsorted: Sequence[Row]) -> list[Row]:
    def place(row: Row) -> tuple[bool, bool, bool, float, str]:
        started = row.since.timestamp() if row.since else 0.0
        return row.status != "running", row.kind != _INCIDENT, not row.needs_human, started, row.run

    return sorted(unsorted, key=place)


async def issues(client: Client, *, ended: bool) -> AsyncIterator[refs.Issue]:
    """Issues of all open runs, or of all ended ones that the server still keeps."""
    status = "ExecutionStatus NOT IN ('Running', 'ContinuedAsNew')" if ended else "ExecutionStatus = 'Running'"
    async for execution in client.list_workflows(f"{wire.SA_KIND} = '{_ISSUE}' AND {status}", page_size=_PAGE):
        if (issue := _issue(execution.id)) is not None:
            yield issue


async def find(client: Client, text: str) -> refs.Issue:
    """The run that `text` names. A bare number means the one open run with it, else the one that has ended.

    Raises:
        failures.Usage: the number is ambiguous; the message lists the candidates.
        failures.Failed: no run has the number.
    """
    name = names.parse(text)
    if name.repo is not None:
        return name.repo.issue(name.number)
    for ended in (False, True):
        found = [i async for i in issues(client, ended=ended) if i.number == name.number]
        candidates = sorted({str(issue): issue for issue in found}.items())
        if len(candidates) == 1:
            return candidates[0][1]
        if candidates:
            some = ", ".join(name for name, _ in candidates[:10]) + (", …" if len(candidates) > 10 else "")
            raise failures.Usage(
                f"{text} is ambiguous, {len(candidates)} {'ended' if ended else 'open'} runs have that number: "
                f"name one of {some}"
            )
    raise failures.Failed(f"no run has the number {name.number}: see fettle fleet --all, or name it owner/repo#{text}")


async def complete(client: Client, shown: Sequence[Row]) -> list[Row]:
    """Add to each row what only the run itself knows; a run that does not answer keeps what is known."""
    gate = asyncio.Semaphore(_AT_ONCE)
    answered = unanswered = 0

    async def one(row: Row) -> Row:
        nonlocal answered, unanswered
        async with gate:
            # Without any worker each query takes its whole time-out: the list must not wait for that a hundred times.
            if row.kind != _ISSUE or (unanswered >= _AT_ONCE and not answered):
                return row
            issue = refs.Repository.parse(row.repo).issue(row.issue or 0)
            try:
                state = await runs.query(client, issue, timeout=_ANSWER)
            except (RPCError, runs.NotAnswered, runs.NoSuchRun):
                unanswered += 1
                return row
            answered += 1
        return row.model_copy(
            update={
                "title": state.title,
                "since": state.since or row.since,
                "pull_request": state.pull.number if state.pull else None,
                "pull_request_url": state.pull.url if state.pull else None,
                "head_sha": state.change.head_sha if state.change else None,
                "waits_for": path_leases.sentence(state.behind) if state.waits_for_files else None,
            }
        )

    return list(await asyncio.gather(*(one(row) for row in shown)))


def _row(execution: WorkflowExecution) -> Row | None:
    attributes = {pair.key.name: pair.value for pair in execution.typed_search_attributes}
    kind = str(attributes.get(wire.SA_KIND, ""))
    issue = _issue(execution.id)
    if (issue is None) != (kind == _INCIDENT):
        return None  # a child of a run may carry the run's attributes; it is no run
    return Row(
        run=str(issue) if issue else execution.id,
        kind=kind,
        repo=str(issue.repo) if issue else str(attributes.get(wire.SA_REPO, "")),
        issue=issue.number if issue else None,
        phase=str(attributes.get(wire.SA_PHASE, "")),
        hold=str(attributes.get(wire.SA_HOLD, "")),
        agent=str(attributes.get(wire.SA_AGENT, "")),
        since=execution.start_time,
        needs_human=bool(attributes.get(wire.SA_NEEDS_HUMAN, False)),
        status=(execution.status or WorkflowExecutionStatus.RUNNING).name.lower(),
    )


def _issue(workflow_id: str) -> refs.Issue | None:
    try:
        return refs.Issue.from_workflow_id(workflow_id)
    except ValueError:
        return None
