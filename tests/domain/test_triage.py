"""What an issue's body says about what it waits for: a dependency that is missed is a run that begins too early."""

import time
from datetime import UTC, datetime

import pytest

from domain import explain, refs, run, surroundings, triage

ISSUE = refs.Repository.parse("acme/api").issue(12)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Depends on #3, #4", (3, 4)),
        ("Depends on #3 and #4 and #5.", (3, 4, 5)),
        ("Depends on #3, #4, and #5", (3, 4, 5)),
        ("blocked by: #3 & #4", (3, 4)),
        ("- **Blocked by** #3", (3,)),
        ("Depends on:\n- #3\n- #4\n\nSee #5.", (3, 4)),
        ("Depends on:\r\n#3\r\n#4\r\n", (3, 4)),
        ("Depends on #3\n\n#4 broke this too, see #5", (3,)),
        ("Depends on #3\n#4 broke this too", (3,)),
        ("Needs #3 because of #4", (3,)),
        ("Depends on #12", ()),
        ("It depends on #3", ()),
        ("Depends on acme/web#3", ()),
    ],
)
def test_dependencies_are_read_as_a_person_lists_them(body: str, expected: tuple[int, ...]) -> None:
    assert triage.by_rules(ISSUE, body, ()).depends_on == expected


def test_dependencies_that_are_not_waited_for_are_told() -> None:
    found = triage.by_rules(ISSUE, "Depends on " + ", ".join(f"#{n}" for n in range(100, 160)), ())
    assert (len(found.depends_on), found.not_waited_for) == (50, 10)
    state = run.State(issue=ISSUE, opened=True, claimed=True, triage=found)
    told = explain.explain(state, datetime(2026, 1, 1, tzinfo=UTC), surroundings.Surroundings())
    assert "; 10 more in its body are not waited for" in told.waits_for


@pytest.mark.parametrize(
    "body",
    [
        "Depends on " + "#1, " * 20000,
        "Depends on " + "#3 and " * 10000,
        "Depends on #3" + "\n#4" * 20000 + " x",
        "Depends on #3 " + " " * 65000,
        ("Depends on #3" + "\n" + " " * 19 + "#4" * 3) * 2000,
    ],
    ids=["commas", "ands", "lines", "spaces", "lists"],
)
def test_no_body_keeps_a_workflow_task_busy(body: str) -> None:
    began = time.process_time()
    triage.by_rules(ISSUE, body, ())
    assert time.process_time() - began < 1
