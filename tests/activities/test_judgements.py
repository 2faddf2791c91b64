"""What judgements are asked: the facts that an activity gives are those that its prompt takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from pydantic import BaseModel
from temporalio.testing import ActivityEnvironment

from activities.reviewing import JudgementActivities
from domain import redaction, refs, review, tasks, triage
from integrations import prompts

Answer = TypeVar("Answer", bound=BaseModel)
REPO = refs.Repository(owner="acme", name="api")


class Forge:
    async def diff(self, repo: refs.Repository, base: str, head: str) -> str:
        return "+token = 'correct-horse-battery'\n"


@dataclass
class Reader:
    """A judge that fills in the real prompt and keeps it."""

    name: str = "reader"
    asked: list[str] = field(default_factory=list)

    async def ask(self, prompt: str, inputs: Mapping[str, object], answer: type[Answer], *, run: str = "") -> Answer:
        self.asked.append(prompts.Library().render(prompt, inputs).text)
        facts: dict[str, Any] = {"priority": 2, "reason": "r"} if answer is triage.Advice else {"summary": "fine"}
        return answer.model_validate(facts)


@pytest.fixture
def judge() -> Reader:
    return Reader()


@pytest.fixture
def activities(judge: Reader) -> JudgementActivities:
    return JudgementActivities(cast("Any", Forge()), judge, redaction.Redactor(frozenset({"correct-horse-battery"})))


async def test_triage_is_asked_with_the_issue(activities: JudgementActivities, judge: Reader) -> None:
    request = tasks.JudgeTriage(issue=REPO.issue(1), title="Totals are wrong", body="by a cent")
    advice = await ActivityEnvironment().run(activities.judge_triage, request)
    assert advice.priority == 2
    assert "Totals are wrong" in judge.asked[0]
    assert "by a cent" in judge.asked[0]


async def test_a_review_is_asked_with_the_redacted_change(activities: JudgementActivities, judge: Reader) -> None:
    request = tasks.JudgeReview(
        issue=REPO.issue(1), title="Totals are wrong", body="by a cent", base_sha="a" * 40, head_sha="b" * 40
    )
    found = await ActivityEnvironment().run(activities.judge_review, request)
    assert found.head_sha == "b" * 40
    assert found.verdict is review.Verdict.APPROVE
    assert "token" in judge.asked[0]
    assert "correct-horse-battery" not in judge.asked[0]
