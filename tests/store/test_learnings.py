from datetime import timedelta

import pydantic
import pytest

from domain import refs
from store import engine, learnings
from tests.store.conftest import NOW

API = refs.Repository.parse("acme/api")
WEB = refs.Repository.parse("acme/web")


def learning(text: str = "run make lint first", **changes: object) -> learnings.Learning:
    given = {"repo": API, "kind": "success", "run": "issue/acme/api/1", "text": text, "created_at": NOW}
    return learnings.Learning.model_validate(given | changes)


async def test_learning_comes_back_as_it_was_recorded(store: engine.Store) -> None:
    assert await store.learnings.record(learning())
    assert await store.learnings.latest(API, 10) == [learning()]


async def test_learning_is_kept_once_for_each_run_kind_and_text(store: engine.Store) -> None:
    assert await store.learnings.record(learning())
    assert not await store.learnings.record(learning(created_at=NOW + timedelta(days=1)))
    assert await store.learnings.record(learning(kind="ci_failure"))
    assert await store.learnings.record(learning(run="issue/acme/api/2"))
    assert await store.learnings.record(learning("another text"))
    assert len(await store.learnings.latest(API, 10)) == 4


async def test_latest_gives_the_newest_first_of_one_repository(store: engine.Store) -> None:
    for age in range(4):
        await store.learnings.record(learning(f"lesson {age}", created_at=NOW - timedelta(days=age)))
    await store.learnings.record(learning("elsewhere", repo=WEB))
    assert [each.text for each in await store.learnings.latest(API, 3)] == ["lesson 0", "lesson 1", "lesson 2"]


async def test_what_a_database_refuses_is_taken_out_of_a_text(store: engine.Store) -> None:
    await store.learnings.record(learning("tests print \0 and \udcff"))
    [kept] = await store.learnings.latest(API, 1)
    assert kept.text == "tests print  and ?"


def test_text_is_cut_to_its_first_line_that_is_not_blank() -> None:
    assert learning("\n  \n  first \nsecond").text == "first"
    assert len(learning("x" * 501).text) == 500


def test_blank_text_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="text"):
        learning(" \n ")


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="review_rejection"):
        learning(kind="coordinator_rejection")
