"""A webhook only wakes: repeated, out of order or lost, the forge ends up the same."""

from collections.abc import Callable
from typing import Any

import pytest

from domain import refs
from tests.e2e import books
from tests.e2e.stack import Stack
from tests.e2e.waiting import until
from workers import schedules

pytestmark = [pytest.mark.faults, pytest.mark.timeout(150)]

Name = Callable[[str], str]
SCRIPT: list[dict[str, Any]] = [{"write": {"path": "answer.txt", "content": "42\n"}}, {"say": "done"}]


async def _story(stack: Stack, name: str) -> tuple[refs.Issue, dict[str, Any]]:
    repo = await stack.repository(name, {"README.md": "# Same in every repository\n"})
    issue = await stack.ask(repo, "Answer", SCRIPT)
    await stack.merged(issue)
    return issue, await books.snapshot(stack.books, issue)


async def _settled(stack: Stack) -> None:
    async def look() -> bool:
        return not (await stack.books.get("/_devforge/health"))["deliveries_pending"]

    await until(look, 30, "every delivery sent")


@pytest.fixture(scope="module")
async def undisturbed(installation: Stack) -> dict[str, Any]:
    """The same story on a good day."""
    if not installation.running:
        await installation.start()
    return (await _story(installation, "goodday"))[1]


@pytest.mark.parametrize(
    "faults",
    [
        [("webhook_duplicate", {"times": 4})],
        [("webhook_reorder", {"window": 3})],
        [("webhook_duplicate", {"times": 4}), ("webhook_reorder", {"window": 5})],
        [("webhook_drop", {})],
        [("webhook_drop", {"recorded": False})],
        [("webhook_delay", {"seconds": 1.5})],
    ],
    ids=["five times", "out of order", "five times and out of order", "never", "never, unrecorded", "late"],
)
async def test_forge_ends_up_as_on_a_good_day_whatever_becomes_of_webhooks(
    stack: Stack, name: Name, undisturbed: dict[str, Any], faults: list[tuple[str, dict[str, Any]]]
) -> None:
    for kind, settings in faults:
        await stack.people.fault(kind, forever=True, **settings)
    issue, seen = await _story(stack, name("badday"))
    first, _ = await stack.execution(issue)
    assert all(fault["used"] for fault in await stack.people.heal())
    assert seen == undisturbed
    await stack.books.check_merged_once(issue)
    stack.books.check_main_was_tested(issue.repo)

    await _settled(stack)
    handle = stack.temporal.get_schedule_handle(schedules.intake_id(issue.repo))
    await handle.trigger()
    assert await stack.execution(issue) == (first, (await stack.execution(issue))[1]), "a late webhook began a new run"
    assert not await stack.is_open(issue)
    assert await books.snapshot(stack.books, issue) == undisturbed
