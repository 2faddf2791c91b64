"""A run is named `owner/repo#12`, or `12` when that can mean one run only."""

import itertools

import pytest

from domain import refs, wire
from tests.cli.world import World, asay, at_gate, say

_numbers = itertools.count(5000)


@pytest.mark.parametrize(
    "text", ["0", "x", "acme/api", "acme/api#", "acme/api#-1", "#1", "acme#1", "a/b/c#1", "../x#1"]
)
def test_what_names_no_run_is_a_usage_error(text: str) -> None:
    found = say("status", "--", text)
    assert found.code == 2
    assert found.out == ""


async def test_a_number_that_one_open_run_has_is_enough(runs: World) -> None:
    number = next(_numbers)
    await runs.start(at_gate(runs.repo.issue(number)))
    found = await asay("status", str(number), "--json")
    assert found.json["run"] == f"{runs.repo}#{number}"


async def test_an_ambiguous_number_lists_the_candidates(runs: World) -> None:
    number = next(_numbers)
    other = refs.Repository(owner="other", name=runs.repo.name)
    for repo in (runs.repo, other):
        await runs.start(at_gate(repo.issue(number)))
    found = await asay("hold", str(number))
    assert found.code == 2
    assert f"name one of {runs.repo}#{number}, {other}#{number}" in found.err


async def test_an_open_run_goes_before_an_ended_one(runs: World) -> None:
    number = next(_numbers)
    ended = await runs.start(at_gate(refs.Repository(owner="other", name=runs.repo.name).issue(number)))
    await ended.signal(wire.ISSUE_CHANGED)
    await ended.result()
    await runs.start(at_gate(runs.repo.issue(number)))
    await runs.listed(f"WorkflowId = '{ended.id}' AND ExecutionStatus = 'Completed'")
    assert (await asay("explain", str(number), "--json")).json["run"] == f"{runs.repo}#{number}"


async def test_an_ended_run_is_found_when_no_open_one_has_the_number(runs: World) -> None:
    number = next(_numbers)
    ended = await runs.start(at_gate(runs.repo.issue(number)))
    await ended.signal(wire.ISSUE_CHANGED)
    await ended.result()
    await runs.listed(f"WorkflowId = '{ended.id}' AND ExecutionStatus = 'Completed'")
    assert (await asay("status", str(number), "--json")).json["status"] == "completed"


async def test_a_number_that_no_run_has_says_where_to_look(runs: World) -> None:
    found = await asay("status", "999999999")
    assert found.code == 1
    assert "fettle fleet --all" in found.err
