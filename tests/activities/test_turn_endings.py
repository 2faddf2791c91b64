"""What the end of a process means for its turn."""

import pytest

from activities import turn_endings, turn_process
from domain import agent, errors, redaction
from integrations.agent import port
from sandbox import process

SECRET = "correct-horse-battery"


def ended(*events: agent.Event) -> turn_process.Ended:
    return turn_process.Ended(events, process.Status(exit_code=1), "")


def error(verdict: port.Verdict, *events: agent.Event) -> errors.AgentError:
    request = agent.TurnRequest(
        run="issue/acme/api/1", session=agent.Session(backend="claude", id="s"), worktree="/w", prompt="x"
    )
    return turn_endings.error("claude", request, verdict, ended(*events), redaction.Redactor(frozenset({SECRET})))


def test_what_was_refused_on_the_way_is_told_with_an_error_too() -> None:
    verdict = port.Verdict(agent.Outcome.CRASHED, denials=("Bash", f"WebFetch({SECRET})", "Bash"))
    said = str(error(verdict))
    assert "; refused on the way: Bash, WebFetch(" in said
    assert SECRET not in said
    assert "refused on the way" not in str(error(port.Verdict(agent.Outcome.CRASHED)))


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ((), errors.AgentUnavailable),
        ((agent.Event(kind=agent.EventKind.TEXT, text="Invalid API key"),), errors.AgentUnavailable),
        ((agent.Event(kind=agent.EventKind.TOOL, text="Edit"),), errors.AgentLoggedOut),
    ],
)
def test_a_login_that_is_lost_after_work_is_told_from_one_that_never_was(
    events: tuple[agent.Event, ...], kind: type[errors.AgentError]
) -> None:
    """What has worked has cost something, and is not booked as if it had never begun."""
    verdict = port.Verdict(agent.Outcome.API_ERROR, reason="authentication_failed")
    assert type(error(verdict, *events)) is kind


def test_a_secret_on_the_edge_of_a_cut_leaves_no_part_of_itself() -> None:
    for words in (f"{SECRET}{'x' * 590}", f"{SECRET}{'x' * 595}"):
        assert "battery" not in str(error(port.Verdict(agent.Outcome.CRASHED, summary=words)))
    denials = ("y" * 290, SECRET)
    assert "correct" not in str(error(port.Verdict(agent.Outcome.CRASHED, denials=denials)))
