"""Words become tokens, and lists of them answer the same whatever order and history they have."""

import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegraph import index, postings, question, tokens
from codegraph.facts import Definition, Facts

WORDS = st.sampled_from(["parse", "parser", "HTTPServer", "http_server", "x", "totals", "get", "timeout", "Über"])
BAGS = st.dictionaries(WORDS, st.integers(1, 300), max_size=6)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("HTTPServer", ("http", "server", "httpserver")),
        ("http_server", ("http", "server", "httpserver")),
        ("__init__", ("init",)),
        ("getX", ("get", "getx")),
        ("x", ()),
        ("parsing", ("pars",)),
        ("entries", ("entry",)),
    ],
)
def test_an_identifier_gives_its_parts_and_itself(word: str, expected: tuple[str, ...]) -> None:
    assert tokens.of_word(word) == expected


@pytest.mark.parametrize(
    "forms", [("handle", "handles", "handled", "handling"), ("validate", "validation"), ("run", "running", "runs")]
)
def test_the_forms_of_a_word_meet(forms: tuple[str, ...]) -> None:
    assert len({tokens.stem(form) for form in forms}) == 1


@given(st.text(max_size=200))
def test_any_text_is_a_question(text: str) -> None:
    asked = question.read(text)
    assert all(math.isfinite(weight) and weight > 0 for weight in asked.weights.values())
    assert len(asked.weights) <= 120


@pytest.mark.parametrize("piece", ["a-", "Aa", "a/", ".a", "a_", "`", "a.", "-/"])
def test_a_text_without_blanks_is_read_in_the_time_of_its_length(piece: str) -> None:
    began = time.process_time()
    question.read(piece * 20_000)
    assert time.process_time() - began < 1.0


@given(st.text(alphabet="aB1_.@-/\\ (", max_size=30))
def test_paths_are_what_a_search_from_every_character_finds(text: str) -> None:
    anywhere = re.findall(r"[\w.@-]+(?:[/\\][\w.@-]+)*\.[A-Za-z]{1,5}\b", text)
    expected = tuple(dict.fromkeys(found.replace("\\", "/").lstrip("./") for found in anywhere))
    assert question.read(text).paths == expected


def test_operators_of_query_languages_are_plain_words() -> None:
    """Issue texts are full of quotes; no query language ever sees them."""
    plain = question.read("server crash timeout")
    hostile = question.read('"server" NEAR/2 crash* -(timeout) OR "')
    assert plain.weights.keys() <= hostile.weights.keys()


@given(st.lists(BAGS, max_size=8), st.sets(st.integers(0, 7)))
def test_lists_that_lost_documents_answer_like_lists_that_never_had_them(
    bags: list[dict[str, int]], gone: set[int]
) -> None:
    grown = postings.Postings()
    for bag in bags:
        grown.add(tokens.of_counts(bag))
    for number in gone:
        if number < len(bags):
            grown.remove(number)
            grown.remove(number)
    kept = [place for place in range(len(bags)) if place not in gone]
    fresh = postings.Postings()
    for place in kept:
        fresh.add(tokens.of_counts(bags[place]))
    weights = {"pars": 1.0, "http": 2.0, "total": 0.5}
    found = {kept.index(number): score for number, score in grown.scores(weights).items()}
    assert found == fresh.scores(weights)


def test_a_rare_token_weighs_more_than_a_common_one() -> None:
    held = postings.Postings()
    for bag in ({"get": 1, "invoice": 1}, {"get": 1}, {"get": 1}):
        held.add(bag)
    scores = held.scores({"get": 1.0, "invoice": 1.0})
    assert scores[0] > 2 * scores[1]
    assert held.scores({"nowhere": 1.0}) == {}


def _facts(words: dict[str, int], name: str = "") -> Facts:
    definitions = (Definition(name, "function", 1, 3, f"def {name}()", calls=("cents",)),) if name else ()
    return Facts("python", 3, definitions, ({}, words) if name else (words,))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), BAGS), max_size=30))
def test_an_index_after_many_changes_is_the_index_of_what_is_there(
    steps: list[tuple[str, bool, dict[str, int]]],
) -> None:
    grown = index.Index()
    wanted: dict[str, Facts] = {}
    for path, there, bag in steps:
        wanted.pop(path, None)
        if there:
            wanted[path] = _facts(bag, "total" if len(bag) % 2 else "")
        grown.update(wanted)
    fresh = index.Index()
    fresh.update(wanted)
    assert sorted(grown.facts) == sorted(fresh.facts)
    assert grown.mean_file_length == fresh.mean_file_length
    assert grown.chunks.mean_length == fresh.chunks.mean_length
    assert grown.definers == fresh.definers
    by_path = [
        {held.paths[held.chunk_slot[number]]: times for number, times in held.chunks.holders("pars")}
        for held in (grown, fresh)
    ]
    assert by_path[0] == by_path[1]


def test_an_index_does_not_grow_with_the_number_of_changes() -> None:
    held = index.Index()
    for turn in range(500):
        held.update({"a.py": _facts({f"word{turn}": 1})})
    assert len(held.paths) < 200
    assert held.chunks.living == 1
