"""A run that did not end in time: the words say what is known of it, and no more."""

from cli import trial
from domain import refs, run

ISSUE = refs.Issue(repo=refs.Repository.parse("demo/tinytax"), number=1)


def test_a_run_that_was_never_seen_was_not_started() -> None:
    assert "no run of demo/tinytax#1 was started within 180 s" in trial._late(ISSUE, None, None, 180)


def test_a_run_that_was_seen_and_does_not_answer_is_not_called_unstarted() -> None:
    seen = run.State(issue=ISSUE, phase=run.Phase.AWAITING_DISPATCH)
    said = trial._late(ISSUE, None, seen, 180)
    assert "was awaiting_dispatch when it last answered" in said
    assert "not answer after 180 s" in said
    assert "started" not in said
