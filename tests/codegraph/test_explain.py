"""An explanation agrees with the ranking that it explains, and says of every other file why it is not in it."""

import pathlib

import pytest

from codegraph import columns, explain, graph, navigate
from tests.codegraph import shop

_TEXT = "Round the total once, at the end"


@pytest.fixture
def held(tmp_path: pathlib.Path) -> graph.Graph:
    shop.build(tmp_path / "shop")
    made = graph.Graph.open(tmp_path / "shop", folder=tmp_path / "kept")
    made.at("main")
    return made


def _explained(held: graph.Graph, text: str, path: str) -> explain.Explanation:
    assert held.manifest is not None
    return explain.explain(held.revision, held.manifest, text, path)


def test_every_column_of_the_ranking_has_words() -> None:
    assert explain.WORDS.keys() == {*columns.NAMES, explain.TOGETHER}


def test_place_score_and_reasons_are_those_of_the_ranking(held: graph.Graph) -> None:
    answer = navigate.locate(held.revision, _TEXT)
    for place, hit in enumerate(answer.files, 1):
        found = _explained(held, _TEXT, hit.path)
        assert (found.place, found.score, found.reasons) == (place, hit.score, hit.reasons)
        assert found.probability == hit.probability
        assert found.absent == ""


def test_the_evidence_tells_what_sets_a_file_apart(held: graph.Graph) -> None:
    evidence = _explained(held, "The total and the discount of an order", "src/shop/totals.py").evidence
    words = next(each for each in evidence if each.column == "words_top")
    assert (words.place, words.value) == (1, 1.0)
    assert words.typical < words.value
    effects = [abs(each.effect) for each in evidence]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 0


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("src/shop/nothing.py", "the revision holds no such file"),
        ("src/shop/generated_pb2.py", "it is left out of the index: generated"),
        ("README.md", "it is left out of the index: no language"),
        ("./tests/test_mail.py", "it is a test: tests are listed as those to run, not ranked"),
    ],
)
def test_a_file_that_is_not_ranked_has_a_reason(held: graph.Graph, path: str, why: str) -> None:
    found = _explained(held, _TEXT, path)
    assert (found.place, found.score, found.absent) == (None, None, why)


def test_a_text_without_words_ranks_nothing(held: graph.Graph) -> None:
    assert _explained(held, "?!", "src/shop/mail.py").absent == "the text holds no word to look for"
    found = _explained(held, "zzzz qqqq", "src/shop/mail.py")
    assert (found.place, found.candidates, found.absent) == (None, 0, "nothing of the text leads to any file")
