import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from integrations.agent import schema


class Step(BaseModel, extra="forbid"):
    path: str = Field(min_length=1, pattern=r"^[a-z/]+$")
    lines: list[int] = Field(default_factory=list, max_length=3)


class Plan(BaseModel, extra="forbid"):
    verdict: Literal["yes", "no"]
    score: float = Field(ge=0, le=1)
    step: Step | None = None
    notes: dict[str, str] = Field(default_factory=dict)


SCHEMA = json.dumps(Plan.model_json_schema())
GOOD: dict[str, Any] = {"verdict": "yes", "score": 0.5, "step": {"path": "a/b", "lines": [1]}, "notes": {"k": "v"}}


def test_what_the_model_accepts_is_accepted() -> None:
    assert schema.mistakes(json.dumps(GOOD), SCHEMA) == []
    assert schema.mistakes('{"verdict": "no", "score": 1, "step": null}', SCHEMA) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "maybe"}, "answer.verdict is not one of ['yes', 'no']"),
        ({"score": "high"}, "answer.score is string, not number"),
        ({"score": True}, "answer.score is boolean, not number"),
        ({"score": 1.5}, "answer.score is above its maximum of 1"),
        ({"step": {"path": ""}}, "answer.step fits none of its alternatives"),
        ({"step": {"path": "a", "extra": 1}}, "answer.step fits none of its alternatives"),
        ({"notes": {"k": 1}}, "answer.notes.k is integer, not string"),
        ({"more": 1}, "answer.more is not foreseen"),
    ],
)
def test_a_mistake_is_named_by_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate({**GOOD, **change}, strict=True)
    assert schema.mistakes(json.dumps({**GOOD, **change}), SCHEMA) == [words]


def test_what_is_missing_and_what_is_no_json_is_told() -> None:
    assert schema.mistakes('{"verdict": "yes"}', SCHEMA) == ["answer.score is missing"]
    assert schema.mistakes("[1]", SCHEMA) == ["answer is array, not object"]
    assert schema.mistakes("Sure! {}", SCHEMA)[0].startswith("it is no JSON")


def test_a_schema_without_an_end_has_one_here() -> None:
    endless = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "object"}
    assert schema.mistakes("{}", json.dumps(endless)) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["verdict", "score", "type", "anyOf", "items", "$ref", "properties", "required", "enum"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from([SCHEMA, "{}", '{"$ref": "#"}', '{"anyOf": [{"$ref": "#"}]}', "[]", "nothing"]),
)
def test_no_answer_makes_it_raise(value: Any, text: str) -> None:
    schema.mistakes(json.dumps(value), text)
    schema.mistakes(json.dumps(GOOD), json.dumps(value))
