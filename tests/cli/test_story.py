import io
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cli import story
from domain import refs
from domain.run import (
    Change,
    Ending,
    Hold,
    HoldKind,
    MergeState,
    Phase,
    PhaseMark,
    PullRequest,
    Reason,
    State,
    WorkOrder,
)

ISSUE = refs.Repository.parse("acme/api").issue(7)
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def state(*phases: Phase, **fields: object) -> State:
    """A run that stayed two seconds in each phase."""
    marks = tuple(PhaseMark(phase=p, at=BEGAN + timedelta(seconds=2 * i)) for i, p in enumerate(phases))
    return State(issue=ISSUE, phase=phases[-1], marks=marks, **fields)  # type: ignore[arg-type]  # fields of State


def told(seen: State, monkeypatch: pytest.MonkeyPatch, *, times: int = 1, milestones: tuple[str, ...] = ()) -> str:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with story.Teller(story.Story("a run", "scripted", milestones=list(milestones))) as teller:
        for _ in range(times):
            teller.story.state = seen
            teller.update()
    return out.getvalue()


def test_present_phase_runs_on_and_the_final_one_is_no_stay() -> None:
    open_run = state(Phase.RECEIVED, Phase.IMPLEMENTING)
    assert story.spans(open_run, BEGAN + timedelta(seconds=5)) == [
        ("received", 2.0, False),
        ("implementing", 3.0, True),
    ]
    ended = state(Phase.RECEIVED, Phase.MERGING, Phase.DONE)
    assert story.spans(ended, BEGAN + timedelta(days=1)) == [("received", 2.0, False), ("merging", 2.0, False)]


def test_outcome_is_merged_only_with_a_merge_commit() -> None:
    merge = MergeState(merged_sha="a" * 40)
    assert story.outcome(state(Phase.MERGING, Phase.DONE, merge=merge)) == "merged"
    assert story.outcome(state(Phase.MERGING, Phase.DONE)) == "merging"
    assert story.outcome(state(Phase.RECEIVED, Phase.IMPLEMENTING, Phase.FAILED)) == "implementing"
    assert story.outcome(state(Phase.CANCELLED)) == "cancelled"


def test_each_line_is_told_once_however_often_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(state(Phase.RECEIVED, Phase.TRIAGED), monkeypatch, times=3, milestones=("I look.",)).splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        "a run; agent: scripted",
        "received",
        "triaged",
        "agent: I look.",
    ]


def test_phase_that_is_entered_again_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    again = state(Phase.IMPLEMENTING, Phase.REVIEWING, Phase.IMPLEMENTING, Phase.REVIEWING, Phase.IMPLEMENTING)
    said = told(again, monkeypatch)
    assert "implementing (2)" in said
    assert "implementing (3)" in said


def test_control_characters_of_untrusted_text_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    held = state(Phase.IMPLEMENTING, hold=Hold(kind=HoldKind.USER, by="eve", note="\x1b[2J[red]gone[/red]"))
    said = told(held, monkeypatch, milestones=("\x1b]0;title\x07text",))
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "[red]gone[/red]" in said


def test_live_picture_shows_every_part_and_whole_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich import console

    ended = state(Phase.IMPLEMENTING, Phase.FAILED, ending=Ending(phase=Phase.FAILED, reason="it could not"))
    ended.pull = PullRequest(number=3)
    address = "http://127.0.0.1:1/" + "x" * 150
    teller = story.Teller(story.Story("a run", "scripted", links={"Temporal": address}, state=ended))
    screen = console.Console(file=io.StringIO(), width=100, record=True)
    screen.print(teller._picture())
    text = screen.export_text()
    assert "it could not" in text
    assert "failed" in text
    assert "".join(text.split()).endswith("Temporal" + address)


def test_each_fact_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = state(
        *(Phase.PUBLISHING, Phase.QUEUED, Phase.MERGING, Phase.DONE),
        merge=MergeState(merged_sha="ab" * 20),
        pull=PullRequest(number=3),
        change=Change(head_sha="c" * 40),
    )
    lines = [line.partition("] ")[2] for line in told(merged, monkeypatch).splitlines()]
    assert lines[1:] == [
        "publishing: pull request #3, head ccccccccc",
        "queued",
        "merging: merged as ababababa",
        "ended: done",
    ]


def test_what_is_known_of_a_phase_is_told_of_its_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    repaired = state(Phase.IMPLEMENTING, Phase.AWAITING_CI, Phase.IMPLEMENTING, order=WorkOrder(reason=Reason.CI))
    lines = [line.partition("] ")[2] for line in told(repaired, monkeypatch).splitlines()]
    assert lines[1:] == ["implementing", "awaiting_ci", "implementing (2): repair after ci"]


def test_the_reason_of_an_ending_is_not_shown_beside_the_same_words() -> None:
    from rich import console

    ending = Ending(phase=Phase.DONE, reason="merged as ababababa")
    ended = state(Phase.MERGING, Phase.DONE, merge=MergeState(merged_sha="ab" * 20), ending=ending)
    screen = console.Console(file=io.StringIO(), width=100, record=True)
    screen.print(story.Teller(story.Story("a run", "scripted", state=ended))._picture())
    assert screen.export_text().count("merged as ababababa") == 1


def test_a_summary_without_a_terminal_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    address = "http://127.0.0.1:1/" + "x" * 150
    story.summary([("outcome", "merged"), ("page", f"look at {address} with a browser")])
    assert out.getvalue().splitlines() == ["outcome  merged", f"page     look at {address} with a browser"]
