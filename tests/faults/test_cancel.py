"""Cancel means quiescent: no process of the run lives and nothing more is written, until a person asks again."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain import refs, run, wire
from sandbox import proc
from tests.e2e.stack import Stack
from tests.e2e.waiting import until
from workers import schedules

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

CANCELLED_WITHIN = 20.0
QUIET_SECONDS = 3.0
Name = Callable[[str], str]


def _writing(folder: Path) -> dict[str, tuple[int, float]]:
    """Size and time of every file below."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            found[str(path)] = (stat.st_size, stat.st_mtime)
    return found


async def _busy_run(stack: Stack, name: str) -> tuple[refs.Issue, list[proc.Identity]]:
    """A run whose agent waits for a command, while an orphan of its own ignores TERM and writes."""
    repo = await stack.repository(name, {})
    steps: list[dict[str, Any]] = [
        {"append": {"path": "work.txt", "content": "begun\n"}},
        {"spawn_orphan": {"seconds": 300, "path": "tick.txt"}},
        {"run": {"command": f"touch '{stack.gates / name}.reached'; sh -c 'sleep 300 & sleep 300'"}},
    ]
    issue = await stack.ask(repo, "Work for ever", steps)
    await stack.gate(name).reached()
    agent = await stack.agent_of(issue)

    def tree() -> set[proc.Identity] | None:
        found = {agent.launcher, agent.program, *proc.tree(agent.launcher.pid)}
        return found if len(found) >= 5 else None

    return issue, [*await until(tree, 30, "the tree of the command of the agent"), await stack.orphan_of(issue)]


async def test_cancel_leaves_no_process_and_no_write(stack: Stack, name: Name) -> None:
    issue, processes = await _busy_run(stack, name("cancel"))
    began = time.monotonic()
    said = await stack.fettle("cancel", str(issue), "--reason", "wrong issue", "--json")
    seconds = time.monotonic() - began
    print(f"cancelled in {seconds:.1f} s")  # noqa: T201 - a measurement, shown with -s
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["quiescent"] is True
    assert seconds <= CANCELLED_WITHIN
    assert [each for each in processes if proc.is_alive(each)] == []

    effects = await stack.books.effects(issue.repo)
    written = _writing(stack.state / "host" / "worktrees")
    await until(lambda: time.monotonic() > began + seconds + QUIET_SECONDS, QUIET_SECONDS + 5, "quiet seconds")
    assert await stack.books.effects(issue.repo) == effects
    assert _writing(stack.state / "host" / "worktrees") == written
    state = await stack.ended(issue)
    assert state.phase is run.Phase.CANCELLED
    assert "wrong issue" in (await stack.books.comments(issue))[0]
    assert await stack.books.labels(issue) == {wire.LABEL_CANCELLED}
    assert await stack.books.pulls(issue) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", r"/pulls$"), ("POST", r"/issues/\d+/comments"), ("POST", r"/pulls/\d+/reviews")],
    ids=["pull request", "comment", "review"],
)
async def test_write_that_is_under_way_when_a_run_is_cancelled_is_not_its_last_word(
    stack: Stack, name: Name, method: str, path: str
) -> None:
    """The forge is slow: the write arrives seconds after the cancel. It must come before the end that is written."""
    repo = await stack.repository(name("slow"), {})
    await stack.people.fault("latency", method=method, path=f"/repos/{repo}{path}", seconds=4, count=1)
    issue = await stack.ask(repo, "Answer", [{"write": {"path": "answer.txt", "content": "42\n"}}, {"say": "done"}])

    async def under_way() -> bool:
        return any(fault["used"] for fault in await stack.people.faults())

    await until(under_way, 60, f"{method} {path} of {issue}")
    assert (await stack.fettle("cancel", str(issue))).returncode == 0
    effects = await stack.books.effects(repo)
    quiet_since = time.monotonic()
    await until(lambda: time.monotonic() > quiet_since + 5, 10, "quiet seconds")
    assert await stack.books.effects(repo) == effects
    assert await stack.books.labels(issue) == {wire.LABEL_CANCELLED}
    assert [pull["state"] for pull in await stack.books.pulls(issue)] in ([], ["closed"])
    assert "Cancelled" in (await stack.books.comments(issue))[0]
    await stack.books.check_single_effects(issue)


async def test_cancelled_issue_waits_for_a_person_to_label_it_again(stack: Stack, name: Name) -> None:
    issue, _ = await _busy_run(stack, name("again"))
    assert (await stack.fettle("cancel", str(issue))).returncode == 0
    first, _ = await stack.execution(issue)

    path = f"/repos/{issue.repo}/issues/{issue.number}"
    await stack.people.call("PATCH", path, {"title": "Another title"})
    await stack.people.call("POST", f"{path}/comments", {"body": "fettle, go on"})
    await stack.people.label(issue, "bug")
    await stack.people.call("POST", f"{path}/assignees", {"assignees": ["acme"]})
    await stack.people.call("PATCH", path, {"state": "closed"})
    await stack.people.call("PATCH", path, {"state": "open"})
    await _intake_looked(stack, issue)
    assert (await stack.execution(issue))[0] == first

    stack.script(issue, [{"write": {"path": "done.txt", "content": "yes\n"}}, {"say": "done"}])
    await stack.people.label(issue)

    async def another() -> bool:
        return (await stack.execution(issue))[0] != first

    await until(another, 20, f"a new run of {issue}")
    await stack.merged(issue)
    await stack.books.check_single_effects(issue)
    assert stack.books.show(issue.repo, "done.txt") == "yes"


async def _intake_looked(stack: Stack, issue: refs.Issue) -> None:
    """Wait until every webhook was delivered and the schedule has looked once more."""
    handle = stack.temporal.get_schedule_handle(schedules.intake_id(issue.repo))
    before = (await handle.describe()).info.num_actions

    async def look() -> bool:
        pending = (await stack.books.get("/_devforge/health"))["deliveries_pending"]
        info = (await handle.describe()).info
        return not pending and info.num_actions >= before + 2 and not info.running_actions

    await until(look, 30, "the deliveries and two looks of the schedule")
