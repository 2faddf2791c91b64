"""A Temporal server with stand-in workflows, and the command line in front of it."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from cli import main
from domain import refs, run, triage, wire

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "fettle"
HEAD = "3f2c1ab" + "0" * 33
STEPS_TO_GATE = {"opened": True, "triage": triage.Triage(), "claimed": True, "admitted": True, "order": None}


@dataclass(frozen=True)
class Said:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def say(*words: str) -> Said:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run(words)
    return Said(code, out.getvalue(), err.getvalue())


async def asay(*words: str) -> Said:
    """The same while this loop goes on: the worker that has to answer lives in it."""
    return await asyncio.to_thread(say, *words)


def spawn(*words: str, timeout: float = 40, **environment: str) -> Said:
    """Run the command line as users do: a process of its own."""
    command = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "cli.main"]
    found = subprocess.run(
        [*command, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Said(found.returncode, found.stdout, found.stderr)


def at_gate(issue: refs.Issue, **given: object) -> run.State:
    """A run that waits for the approval of HEAD."""
    from domain import checks, review

    state = run.State(
        issue=issue,
        title="Totals are [bold]wrong[/bold]",
        base_branch="main",
        branch=f"fettle/issue-{issue.number}",
        pull=run.PullRequest(number=70, url="https://forge.test/pull/70", ready=True),
        change=run.Change(
            head_sha=HEAD,
            files=("a.py",),
            review=review.Review(head_sha=HEAD, verdict=review.Verdict.APPROVE, by="rules", summary="small"),
            review_posted=True,
            ci=checks.Verdict(head_sha=HEAD, result=checks.Result.GREEN, passed=("test",)),
        ),
        hold=run.Hold(kind=run.HoldKind.MERGE_APPROVAL),
        cost_usd=0.25,
    ).model_copy(update={**STEPS_TO_GATE, **given})
    now = datetime.now(UTC)
    state.move(run.Phase.IMPLEMENTING, now - timedelta(minutes=5))
    state.move(run.Phase.AWAITING_APPROVAL, now - timedelta(minutes=1))
    return state


class World:
    """Starts runs on `queue`. Each test has a repository of its own, so that tests may run in any order."""

    def __init__(self, client: Client, repo: refs.Repository) -> None:
        self.client = client
        self.repo = repo

    async def start(
        self, state: run.State, *, kind: str = "issue", needs_human: bool = False
    ) -> WorkflowHandle[Any, run.State]:
        """Start a run with the search attributes that the real one has, and wait until it is listed."""
        attributes = [
            SearchAttributePair(SearchAttributeKey.for_keyword(wire.SA_KIND), kind),
            SearchAttributePair(SearchAttributeKey.for_keyword(wire.SA_REPO), str(state.issue.repo)),
            SearchAttributePair(SearchAttributeKey.for_keyword(wire.SA_PHASE), state.phase.value),
            SearchAttributePair(SearchAttributeKey.for_keyword(wire.SA_HOLD), state.hold_label()),
            SearchAttributePair(SearchAttributeKey.for_bool(wire.SA_NEEDS_HUMAN), needs_human),
        ]
        workflow_id = state.issue.workflow_id if kind == "issue" else f"incident/sentry/{state.issue.number}"
        handle: WorkflowHandle[Any, run.State] = await self.client.start_workflow(
            wire.ISSUE_WORKFLOW,
            state,
            id=workflow_id,
            task_queue=wire.CONTROL_QUEUE,
            search_attributes=TypedSearchAttributes(attributes),
            result_type=run.State,
        )
        await self.listed(f"WorkflowId = '{workflow_id}' AND RunId = '{handle.result_run_id}'")
        return handle

    async def listed(self, query: str, count: int = 1) -> None:
        """Visibility lags a little behind; nothing tells when it has caught up."""
        async with asyncio.timeout(20):
            while (await self.client.count_workflows(query)).count < count:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
