"""Three issues on a whole installation: two are about one file, its code graph says so, and they take turns."""

from collections.abc import Callable

import pytest

from domain import path_leases, refs, run, wire
from tests.activities.test_code_graph import SOURCES
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

Name = Callable[[str], str]


async def test_issues_about_one_file_are_worked_on_one_after_the_other_and_the_third_beside_them(
    stack: Stack, name: Name
) -> None:
    at = name("leases")
    repo = await stack.repository(at, {path: text for path, text in SOURCES.items() if "test" not in path})
    gate = stack.gate(f"{at}-first")
    rounded = {"edit": {"path": "src/billing/totals.py", "old": "), 2)", "new": "), 3)"}}
    empty = {"edit": {"path": "src/billing/totals.py", "old": "lines):", "new": "lines=()):"}}
    sent = {"edit": {"path": "src/mail/sender.py", "old": "return", "new": "yield"}}
    first = await stack.ask(repo, "invoice_total() in src/billing/totals.py rounds twice", [rounded, *gate.steps])
    await gate.reached()
    second = await stack.ask(repo, "invoice_total() in src/billing/totals.py fails without lines", [empty])
    state = await until(lambda: _waiting(stack, second), 60, f"{second} waits")
    assert [pair.run for pair in state.behind] == [first.workflow_id]
    words = path_leases.sentence(state.behind)
    assert " %) to change src/billing/totals.py" in words
    for command in (("explain", str(second)), ("status", str(second)), ("fleet", "--once", "--repo", str(repo))):
        told = await stack.fettle(*command)
        assert words in told.stdout, told
    described = await stack.temporal.get_workflow_handle(second.workflow_id).describe()
    assert described.search_attributes[wire.SA_HOLD] == ["conflict"]

    third = await stack.ask(repo, "send() in src/mail/sender.py gives up", [sent])
    await stack.merged(third)
    assert (await stack.state_of(second) or state).waits_for_files
    gate.open()
    for issue in (first, second):
        assert (await stack.merged(issue)).used.conflict == 0
    assert "lines=()):" in stack.books.show(repo, "src/billing/totals.py")
    assert "), 3)" in stack.books.show(repo, "src/billing/totals.py")


async def _waiting(stack: Stack, issue: refs.Issue) -> run.State | None:
    state = await stack.state_of(issue)
    return state if state is not None and state.waits_for_files else None
