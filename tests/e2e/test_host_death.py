"""An agent host dies with its disk in the middle of a turn: another one goes on with the same conversation and work."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e import host_death
from tests.e2e.host_death import AFTER, BEFORE, Host
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(200)]

RESUMED_WITHIN = 45.0
RESPENT_SHARE = 0.05


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    made = Stack(tmp_path / "state", **host_death.SETTINGS)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.fixture
def started() -> Iterator[list[Host]]:
    hosts: list[Host] = []
    yield hosts
    for host in hosts:
        host.end()


async def test_a_killed_host_with_its_disk_is_replaced_by_another_in_the_middle_of_a_turn(
    stack: Stack, started: list[Host]
) -> None:
    repo = await stack.repository("death", {})
    blocker, occupied = await host_death.keep_busy(stack, repo, "occupied")
    started += [Host(stack, name) for name in ("host-a", "host-b")]
    await host_death.ready(started)
    work = await host_death.halfway(stack, repo, "middle", started)
    shown = json.loads((await stack.fettle("hosts", "--json")).stdout)
    listed = {host["id"]: host for host in shown}
    assert len(listed) == 3
    assert [run["run"] for run in listed[work.host.name]["runs"]] == [work.issue.workflow_id]
    assert listed[work.host.name]["agents"]["scripted"]["ready"]
    seconds = await host_death.resumed_elsewhere(stack, work)
    work.gate.open()
    merged = await stack.merged(work.issue, seconds=90)
    respent = host_death.made(stack, work.issue) - BEFORE - AFTER
    print(  # noqa: T201 - a measurement, shown with -s
        f"resumed on another host {seconds:.1f} s after the kill, {respent} of {BEFORE} requests made again "
        f"(a cold restart makes {BEFORE} again)"
    )
    assert seconds <= RESUMED_WITHIN
    assert 0 <= respent <= RESPENT_SHARE * BEFORE
    assert merged.session is not None
    assert work.state.session is not None
    assert merged.session.id == work.state.session.id == work.note.progress.session.id
    assert host_death.lines(stack, repo) == host_death.expected()
    await stack.books.check_merged_once(work.issue)
    occupied.open()
    await stack.ended(blocker, seconds=90)
    assert "refs/fettle/" not in stack.books.git(repo, "for-each-ref", "--format=%(refname)")
