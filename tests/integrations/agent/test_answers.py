import json

import pytest

from domain import agent
from integrations.agent import answers

REQUEST = agent.TurnRequest(run="r", session=agent.Session(backend="kimi"), worktree="/w")


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Here it is.\n```json\n{"a": 1}\n```', {"a": 1}),
        ('First:\n```json\n{"a": 1}\n```\nno, better:\n```\n{"a": 2}\n```\n', {"a": 2}),
        ('The answer is {"a": {"b": [1, 2]}}', {"a": {"b": [1, 2]}}),
    ],
)
def test_the_last_json_object_of_the_words_is_the_answer(said: str, given: object) -> None:
    assert json.loads(answers.given(said)) == given


@pytest.mark.parametrize("said", ["", "no", "[1]", '"text"', "{", "} {", '{"a": NaN}', "{'a': 1}", "{" * 100_000])
def test_words_without_a_json_object_are_no_answer(said: str) -> None:
    assert answers.given(said) == ""


def test_a_schema_is_asked_for_in_words() -> None:
    assert answers.asked("Fix it.", REQUEST) == "Fix it."
    asked = answers.asked("Fix it.", REQUEST.model_copy(update={"answer_schema": '{"type": "object"}'}))
    assert asked.startswith("Fix it.\n")
    assert '{"type": "object"}' in asked
