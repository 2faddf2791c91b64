"""What it costs to have thousands of runs wait for a person.

The runs are started at their merge gate: a run's state is also its continue-as-new input, so a run that is given the
state of one that was implemented, reviewed and tested does from there on exactly what such a run does. Each has an
issue of its own on the forge; they share one pull request, which every gate watches.
"""

import asyncio
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio import common, service
from temporalio.client import Client

from cli import failures
from domain import checks, refs, review, run, triage, wire
from domain.policy import ApprovalMode
from evals import ground, processes, scoreboard

_GOAL_MB_PER_1000 = 100.0
_GOAL_CPU = 3.0
_AT_ONCE = 20
_SETTLED_PERCENT = 6.0
_PARK_SECONDS = 900
_SETTLE_SECONDS = 240


async def measure(count: int, window: float) -> list[scoreboard.Row]:
    """Park `count` runs, wait until nothing moves, and read memory and CPU over `window` seconds."""
    async with ground.prepared({}) as place:
        source, head = await asyncio.to_thread(_source, place.scripts.parent)
        repo = await place.repository("parked", webhooks=False, source=source)
        pull = await _pull(place, repo)
        await _settled(place, window)
        before = await processes.watch(place.processes, min(window, 10))
        began = time.monotonic()
        limit = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(_park(place, repo, pull, head, limit) for _ in range(count)))
        await _all_at_gate(place.client, count)
        ground.progress(f"{count} runs are parked after {time.monotonic() - began:.0f} s")
        await _settled(place, window)
        after = await processes.watch(place.processes, window)
        await _all_at_gate(place.client, count)
    return _rows(count, window, before, after)


def _source(folder: Path) -> tuple[Path, str]:
    """A git repository with a branch of work on top of main, and that branch's commit."""
    place = folder / "with-work"
    place.mkdir()

    def git(*words: str) -> str:
        identity = ("-c", "user.name=Ann", "-c", "user.email=ann@bench.invalid", "-c", "commit.gpgSign=false")
        done = subprocess.run(["git", *identity, *words], cwd=place, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main", "--template=")
    git("commit", "--quiet", "--allow-empty", "--message=Begin")
    git("checkout", "--quiet", "-b", "work")
    (place / "decision.md").write_text("Decided.\n", encoding="utf-8")
    git("add", "decision.md")
    git("commit", "--quiet", "--message=Decide")
    head = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "main")
    return place, head


async def _pull(place: ground.Ground, repo: refs.Repository) -> run.PullRequest:
    """A pull request that stays open: a person's."""
    opened = await place.call("POST", f"/repos/{repo}/pulls", {"title": "Decide", "head": "work", "base": "main"})
    return run.PullRequest(number=opened["number"], url=opened["html_url"], node_id=opened["node_id"], ready=True)


async def _park(
    place: ground.Ground, repo: refs.Repository, pull: run.PullRequest, head: str, limit: asyncio.Semaphore
) -> None:
    async with limit:
        made = await place.call("POST", f"/repos/{repo}/issues", {"title": "Decide", "body": "By a person."})
        state = _at_gate(repo.issue(int(made["number"])), pull, head)
        await _start(place.client, state)


def _at_gate(issue: refs.Issue, pull: run.PullRequest, head: str) -> run.State:
    """What a run knows when it waits for the approval of `head`."""
    now = datetime.now(UTC)
    state = run.State(
        issue=issue,
        asked_by="benchmark",
        title="Decide",
        body="By a person.",
        mode=ApprovalMode.REVIEW_MERGE,
        backend="scripted",
        base_branch="main",
        branch="work",
        opened=True,
        triage=triage.Triage(),
        claimed=True,
        admission_asked=False,
        admitted=True,
        order=None,
        rounds=1,
        change=run.Change(
            head_sha=head,
            files=("decision.md",),
            added_lines=1,
            published_at=now,
            review=review.Review(head_sha=head, verdict=review.Verdict.APPROVE, by="rules"),
            review_posted=True,
            ci=checks.Verdict(head_sha=head, result=checks.Result.GREEN, passed=("tests",)),
        ),
        pull=pull,
    )
    state.move(run.Phase.AWAITING_APPROVAL, now)
    return state


async def _start(client: Client, state: run.State) -> None:
    attributes: list[common.SearchAttributePair[Any]] = [
        common.SearchAttributePair(common.SearchAttributeKey.for_keyword(wire.SA_KIND), "issue"),
        common.SearchAttributePair(common.SearchAttributeKey.for_keyword(wire.SA_REPO), str(state.issue.repo)),
    ]
    await client.start_workflow(
        wire.ISSUE_WORKFLOW,
        state,
        id=state.issue.workflow_id,
        task_queue=wire.CONTROL_QUEUE,
        task_timeout=timedelta(seconds=20),
        static_summary=f"{state.issue}: {state.title}",
        search_attributes=common.TypedSearchAttributes(attributes),
    )


async def _all_at_gate(client: Client, count: int) -> None:
    """Wait until every run says that it waits for a person.

    Raises:
        failures.Failed: some do not.
    """
    query = f"ExecutionStatus = 'Running' AND {wire.SA_HOLD} = '{run.HoldKind.MERGE_APPROVAL}'"
    deadline = time.monotonic() + _PARK_SECONDS
    found = 0
    while time.monotonic() < deadline:
        try:
            found = (await client.count_workflows(query)).count
        except service.RPCError:  # a server that is busy with two thousand starts may be late
            found = 0
        if found >= count:
            return
        await asyncio.sleep(0.5)
    raise failures.Failed(f"{count} runs were to wait at their gate, {found} do after {_PARK_SECONDS} s")


async def _settled(place: ground.Ground, window: float) -> None:
    pid = place.processes["control"]
    if not await processes.settle(pid, percent=_SETTLED_PERCENT, window=min(window, 5), seconds=_SETTLE_SECONDS):
        ground.progress(f"the control worker still uses more than {_SETTLED_PERCENT:g} % after {_SETTLE_SECONDS} s")


def _rows(
    count: int, window: float, before: dict[str, processes.Use], after: dict[str, processes.Use]
) -> list[scoreboard.Row]:
    grown = {name: round((use.resident_mb - before[name].resident_mb) / count * 1000, 1) for name, use in after.items()}
    detail = {
        "resident_mb": {name: round(use.resident_mb, 1) for name, use in after.items()},
        "resident_mb_before": {name: round(use.resident_mb, 1) for name, use in before.items()},
        "grown_mb_per_1000": grown,
        "cpu_percent": {name: round(use.cpu_percent, 2) for name, use in after.items()},
        "cpu_percent_before": {name: round(use.cpu_percent, 2) for name, use in before.items()},
    }
    control, runs = after["control"], f"{count} runs at the merge gate"
    return [
        scoreboard.Row(
            name="parked-memory",
            what=f"resident memory that the control worker gained per 1,000 parked runs; {runs}",
            value=grown["control"],
            unit="MB",
            goal=_GOAL_MB_PER_1000,
            detail=detail,
        ),
        scoreboard.Row(
            name="parked-memory-whole",
            what="the whole control worker, per 1,000 parked runs",
            value=control.resident_mb / count * 1000,
            unit="MB",
            goal=_GOAL_MB_PER_1000,
        ),
        scoreboard.Row(
            name="parked-cpu",
            what=f"of one core, the control worker over {window:g} s; {runs}",
            value=control.cpu_percent,
            unit="%",
            goal=_GOAL_CPU,
        ),
        scoreboard.Row(
            name="parked-set-memory",
            what="resident memory of all processes, the Temporal server and the forge included",
            value=sum(use.resident_mb for use in after.values()),
            unit="MB",
        ),
        scoreboard.Row(
            name="parked-set-cpu",
            what="of one core, all processes",
            value=sum(use.cpu_percent for use in after.values()),
            unit="%",
        ),
    ]
