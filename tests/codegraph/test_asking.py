"""The questions a run asks: where to look, what can break, who collides; and that answers never depend on anything but
the commits."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegraph import answers, blast, changes, clean, conflict, graph, map, navigate, objects, store
from tests.codegraph import lab, shop

ASKED = "Round the discount once\nThe total of an order is rounded twice when `discount` is called."


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, list[str]]:
    at = tmp_path_factory.mktemp("shop") / "shop.git"
    return at, shop.build(at)


def _graph(at: pathlib.Path, folder: pathlib.Path) -> graph.Graph:
    return graph.Graph(objects.Repository(at), store.Store(folder), workers=0)


def _answers(held: graph.Graph, rev: str, base: str) -> str:
    revision = held.at(rev)
    found = navigate.locate(revision, ASKED)
    radius = blast.radius(revision, changes.between(held.repository, rev, base, revision))
    clash = conflict.clash(conflict.forecast(revision, ASKED), conflict.forecast(revision, "Send the invoice by mail"))
    return repr((found, radius, clash))


@pytest.mark.parametrize("read", [1, 3, 5])
def test_a_reading_that_broke_off_changes_no_later_answer(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path, read: int
) -> None:
    """Files are taken while others are still being read, so those of the revision that broke off are there already."""
    at, shas = commits

    def stop(done: int, total: int) -> None:
        if done == min(read, total):
            raise TimeoutError("enough")

    held = _graph(at, tmp_path / "one")
    with pytest.raises(TimeoutError):
        held.at(shas[-1], progress=stop)
    assert held.manifest is None
    fresh = _graph(at, tmp_path / "two")
    for rev in (shas[0], shas[-1]):
        assert _answers(held, rev, shas[0]) == _answers(fresh, rev, shas[0])
    assert sorted(held.revision.sources.facts) == sorted(fresh.revision.sources.facts)


def test_a_move_that_broke_off_leaves_the_revision_as_it_was(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path
) -> None:
    at, shas = commits

    def stop(done: int, total: int) -> None:
        raise TimeoutError("enough")

    held = _graph(at, tmp_path / "one")
    before = _answers(held, shas[0], shas[0])
    with pytest.raises(TimeoutError):
        held.at(shas[-1], progress=stop)
    assert _answers(held, shas[0], shas[0]) == before


def test_the_first_file_is_the_one_that_the_text_is_about(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path
) -> None:
    at, shas = commits
    revision = _graph(at, tmp_path).at(shas[-1])
    found = navigate.locate(revision, ASKED)
    assert found.files[0].path == "src/shop/totals.py"
    assert any(reason.startswith("defines ") and "discount" in reason for reason in found.files[0].reasons)
    assert found.symbols[0].name == "Total.discount"
    assert 0.0 < found.files[-1].probability <= found.files[0].probability < 1.0
    assert navigate.covering_tests(revision, ["src/shop/totals.py"]) == ("tests/test_totals.py",)


@pytest.mark.parametrize("text", ["", "the of and", "?!", "\0", "zzzz qqqq"])
def test_a_text_that_says_nothing_has_an_answer_too(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path, text: str
) -> None:
    at, shas = commits
    revision = _graph(at, tmp_path).at(shas[-1])
    assert all(hit.path.startswith("src/") for hit in navigate.locate(revision, text).files)
    assert conflict.clash(conflict.forecast(revision, text), conflict.forecast(revision, ASKED)).probability < 0.5


def test_words_that_no_file_and_no_change_holds_lead_nowhere(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path
) -> None:
    at, shas = commits
    revision = _graph(at, tmp_path).at(shas[-1])
    assert navigate.locate(revision, "zzzz qqqq") == navigate.Answer((), ())
    nowhere = conflict.forecast(revision, "zzzz qqqq")
    assert conflict.clash(nowhere, conflict.forecast(revision, "xxyy zzxx")) == conflict.Clash(0.0, False, (), ())


def test_a_file_that_is_found_by_its_path_says_so(tmp_path: pathlib.Path) -> None:
    files = {b"ledger/one.py": b"def x(): pass\n", b"till/two.py": b"def y(): pass\n"}
    shas = lab.make(tmp_path / "a.git", [lab.Commit({path: data}) for path, data in files.items()])
    first = navigate.locate(_graph(tmp_path / "a.git", tmp_path / "kept").at(shas[-1]), "ledger").files[0]
    assert (first.path, first.reasons) == ("ledger/one.py", ("its path speaks of the text",))


def test_callers_and_tests_of_what_changed_are_in_the_radius(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path
) -> None:
    at, shas = commits
    held = _graph(at, tmp_path)
    revision = held.at(shas[0])
    changed = changes.between(held.repository, shas[0], shas[1], revision)
    assert {each.path: each.names for each in changed} == {
        "src/shop/money.py": ("cents",),
        "src/shop/totals.py": ("Total.rounded",),
    }
    found = blast.radius(revision, changed)
    assert "src/shop/views.py" in [each.path for each in found.review]
    assert found.tests[0].path == "tests/test_totals.py"
    assert not {"src/shop/money.py", "src/shop/totals.py"} & set(found.ranked)


def test_a_file_that_is_new_in_the_difference_has_a_radius(tmp_path: pathlib.Path) -> None:
    at = tmp_path / "shop.git"
    fresh = b"from shop import money\n\n\ndef tax(amount):\n    return money.cents(amount) * money.currency('EUR')\n"
    shas = lab.make(at, [*shop.past(), lab.Commit({b"src/shop/tax.py": fresh}, b"Add taxes", 1_800_000_000)])
    held = _graph(at, tmp_path / "store")
    revision = held.at(shas[-2])
    [change] = changes.between(held.repository, shas[-2], shas[-1], revision)
    assert (change.path, change.new, change.names) == ("src/shop/tax.py", True, ("tax",))
    assert "src/shop/money.py" in blast.radius(revision, [change]).ranked


def test_the_same_work_collides_and_other_work_does_not(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path
) -> None:
    at, shas = commits
    revision = _graph(at, tmp_path).at(shas[-1])
    one, same, other = (
        conflict.forecast(revision, text)
        for text in (ASKED, "discount rounds the total of the order wrong", "login: compare the password in views")
    )
    assert conflict.clash(one, same).probability > conflict.clash(one, other).probability
    assert conflict.clash(one, same).files[0][0] == "src/shop/totals.py"
    assert conflict.clash(one, other) == conflict.clash(one, other)
    assert conflict.columns(one, other) == pytest.approx(conflict.columns(other, one))


def test_answers_are_the_same_cold_or_after_other_revisions(
    commits: tuple[pathlib.Path, list[str]], tmp_path: pathlib.Path
) -> None:
    at, shas = commits
    travelled = _graph(at, tmp_path / "a")
    for sha in (*shas, *reversed(shas), shas[2]):
        travelled.at(sha)
    for rev in shas[1:]:
        assert _answers(travelled, rev, shas[0]) == _answers(_graph(at, tmp_path / f"cold-{rev}"), rev, shas[0])


_ASK = """
import pathlib, sys
from tests.codegraph import test_asking
held = test_asking._graph(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
sys.stdout.write(test_asking._answers(held, sys.argv[3], sys.argv[4]))
"""


def test_answers_are_the_same_for_every_hash_seed_and_place(tmp_path: pathlib.Path) -> None:
    answers = set()
    for seed, place in (("0", "one"), ("1", "two/deeper"), ("4242", "three")):
        at = tmp_path / place / "shop.git"
        shas = shop.build(at)
        environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", _ASK, str(at), str(tmp_path / place / "store"), shas[-1], shas[0]]
        root = pathlib.Path(__file__).parents[2]
        ended = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
        answers.add(ended.stdout)
    assert len(answers) == 1
    assert "totals.py" in answers.pop()


def test_the_shipped_weights_are_for_these_columns() -> None:
    folder = pathlib.Path(graph.__file__).parent / "weights"
    for name in ("locate", "symbols", "blast", "conflict"):
        content = json.loads((folder / f"{name}.json").read_text())
        assert len(content["weights"]) == len(content["columns"])


@given(st.text(max_size=80), st.integers(1, 300), st.integers(0, 20))
def test_a_map_never_exceeds_its_budget(name: str, budget: int, files: int) -> None:
    entries = [map.Entry(f"src/{place}.py", [name], [map.Symbol(name, place, f"def {name}")]) for place in range(files)]
    text = map.render(entries, ["tests/test_a.py"], budget)
    assert map.tokens(text) <= budget
    assert text == map.render(entries, ["tests/test_a.py"], budget)


@given(st.text(max_size=300))
def test_names_of_strangers_stay_one_plain_line(text: str) -> None:
    shown = clean.line(text)
    assert len(shown) <= 160
    assert not set(shown) & set("\n\r\x1b`\u202e")


def test_a_changed_line_that_looks_like_a_heading_is_a_line(tmp_path: pathlib.Path) -> None:
    at = tmp_path / "sql.git"
    body = b"-- a/src/other.py\nx = 1\n\n\ndef far():\n    return 1\n"
    files: dict[bytes, lab.Contents | None] = {
        b"src/one.rb": body.replace(b"def far():", b"def far\n"),
        b"src/other.py": body[18:],
    }
    changed = {b"src/one.rb": b"def far\n\n    return 2\n"}
    shas = lab.make(at, [lab.Commit(files), lab.Commit(changed, time=1_700_000_100)])
    held = _graph(at, tmp_path / "store")
    revision = held.at(shas[0])
    assert [each.path for each in changes.between(held.repository, shas[0], shas[1], revision)] == ["src/one.rb"]


def test_a_text_collides_with_the_branch_that_changes_its_files(tmp_path: pathlib.Path) -> None:
    at = tmp_path / "shop.git"
    steps = shop.past()
    last = len(steps) - 1
    totals = shop.TOTALS.replace(b"percent / 100", b"percent / 100.0")
    mail = shop.MAIL.replace(b"Your invoice", b"An invoice")
    branches = [
        lab.Commit({b"src/shop/totals.py": totals}, b"work", 1_800_000_000, parents=[last], branch="discounts"),
        lab.Commit({b"src/shop/mail.py": mail}, b"work", 1_800_000_000, parents=[last], branch="mails"),
    ]
    shas = lab.make(at, [*steps, *branches])
    held = _graph(at, tmp_path / "store")
    held.at(shas[last])
    found = answers.under_way(held, ASKED, ["mails", "discounts"])["branches"]
    assert [each["branch"] for each in found] == ["discounts", "mails"]
    assert found[0]["files"][0][0] == "src/shop/totals.py"
    assert found[0]["symbols"][0][0] == "src/shop/totals.py::Total.discount"
    assert found[0]["probability"] > 2 * found[1]["probability"]
