"""Which words a turn begins with: Fettle's, the repository's, or only the news."""

from typing import Any

import pytest

from domain import errors
from domain.brief import Brief
from domain.workflow_policy import IssueFacts, Source, Workflow
from integrations import prompts, turn_prompt

LIBRARY = prompts.Library()


def brief(**more: Any) -> Brief:
    facts: dict[str, Any] = {
        "issue": "acme/api#7",
        "title": "Round once",
        "body": "The total is off.",
        "author": "ada",
        "base_branch": "main",
        "branch": "fettle/issue-7-round-once",
        "verify_command": "make test",
    }
    return Brief(**{**facts, **more})


def test_a_repository_without_a_template_gets_fettles_prompt() -> None:
    found = turn_prompt.render(LIBRARY, brief())
    assert found.name == "implement"
    assert "Resolve issue acme/api#7." in found.text


def test_a_template_takes_the_place_of_the_instructions_and_keeps_the_rules() -> None:
    workflow = Workflow(
        prompt="Fix {{ issue.identifier }} ({{ issue.assignees }}, {{ issue.state }}).\n\n{{ issue.body }}",
        source=Source(branch="main", commit_sha="a" * 40),
        issue=IssueFacts(assignees=("ada",), state="todo", skills=("money",)),
    )
    found = turn_prompt.render(LIBRARY, brief(**workflow.brief()))
    assert found.name == "workflow"
    assert "Fix acme/api#7 (ada, todo)." in found.text
    assert "Do not push" in found.text
    assert "make test" in found.text
    assert "- `money`" in found.text
    assert "Resolve issue" not in found.text


def test_the_attempt_follows_the_turn() -> None:
    template = "{% if attempt %}again {{ attempt }}{% else %}first{% endif %}"
    assert "\nfirst\n" in turn_prompt.render(LIBRARY, brief(template=template, turn=1)).text
    assert "\nagain 2\n" in turn_prompt.render(LIBRARY, brief(template=template, turn=3)).text


def test_skills_that_the_issue_names_are_in_fettles_prompt_too() -> None:
    text = turn_prompt.render(LIBRARY, brief(skills=("deploy",))).text
    assert "- `deploy`" in text
    assert "## Skills" not in turn_prompt.render(LIBRARY, brief()).text


@pytest.mark.parametrize("template", ["", "Fix {{ issue.title }} {{ issue.body }}"])
@pytest.mark.parametrize(
    ("reason", "heading"),
    [
        ("review", "The review rejects the change"),
        ("ci", "CI failed"),
        ("verify", "Verification failed"),
        ("conflict", "conflicts with `main`"),
        ("safety", "The safety scan blocks"),
        ("continue", "The last turn ended at its limit"),
        ("handback", "A person has worked in your clone"),
        ("unfinished", "The last turn is not finished"),
    ],
)
def test_a_conversation_that_goes_on_hears_the_news_and_not_the_task_again(
    template: str, reason: str, heading: str
) -> None:
    """Resending the task would cost its tokens with every turn, and invite to start over."""
    told = brief(template=template, reason=reason, feedback="look here", turn=2, learnings=("a lesson",))
    found = turn_prompt.render(LIBRARY, told, continuation=True)
    assert found.name == "continue"
    assert heading in found.text
    assert "look here" in found.text
    for words in ("Round once", "The total is off.", "a lesson", "Find the files that matter"):
        assert words not in found.text
    whole = turn_prompt.render(LIBRARY, told)
    assert heading in whole.text
    assert "Round once" in whole.text


def test_a_changed_order_reaches_a_conversation_that_goes_on() -> None:
    told = brief(reason="edit", feedback="the task was changed", human_note="keep the old signature")
    assert "keep the old signature" in turn_prompt.render(LIBRARY, told, continuation=True).text
    later = brief(reason="ci", feedback="red", human_note="keep the old signature")
    assert "keep the old signature" not in turn_prompt.render(LIBRARY, later, continuation=True).text


def test_a_template_that_fails_names_its_file() -> None:
    with pytest.raises(errors.TemplateFailed, match=r"WORKFLOW.md \(main at aaaaaaaaa\) cannot be rendered"):
        turn_prompt.render(
            LIBRARY, brief(template="{{ nobody }}", template_source=str(Source(branch="main", commit_sha="a" * 40)))
        )
