"""A clone that lacks contents is answered from what it holds, says what it lacks, and fetches nothing."""

import pathlib

import pytest

from codegraph import answers, changes, graph, objects, store
from tests.codegraph import lab, shop


def _clone(tmp_path: pathlib.Path, *words: str) -> tuple[pathlib.Path, list[str]]:
    shas = shop.build(tmp_path / "whole.git")
    lab.git(tmp_path / "whole.git", "config", "uploadpack.allowFilter", "true")
    url = (tmp_path / "whole.git").as_uri()
    lab.git(tmp_path, "clone", "--quiet", "--filter=blob:none", *words, url, "part")
    return tmp_path / "part", shas


def _held(at: pathlib.Path) -> graph.Graph:
    return graph.Graph(objects.Repository(at), store.Store(None), workers=0)


def _objects(at: pathlib.Path) -> set[str]:
    return {path.name for path in at.rglob("objects/**/*") if path.is_file()}


def test_a_clone_without_contents_counts_them_as_left_out(tmp_path: pathlib.Path) -> None:
    at, _ = _clone(tmp_path, "--bare")
    before = _objects(at)
    held = _held(at)
    held.at("main")
    about = answers.stats(held)
    assert (about["absent"], about["skipped"]) == (7, {"generated": 1, "no language": 1, "not in this clone": 7})
    assert (about["commits"], about["shallow"]) == (5, False)
    found = answers.locate(held, "Send the invoice by mail")
    assert (found["absent"], [hit["path"] for hit in found["files"]]) == (7, [])
    assert _objects(at) == before


def test_the_files_that_are_there_are_answered_and_the_others_are_named(tmp_path: pathlib.Path) -> None:
    """A checkout has the contents of its own commit and of no other."""
    at, shas = _clone(tmp_path)
    before = _objects(at)
    held = _held(at)
    held.at(shas[-1])
    assert answers.about(held)["absent"] == 0
    assert answers.locate(held, "Send the invoice by mail")["files"][0]["path"] == "src/shop/mail.py"
    held.at(shas[0])
    assert answers.about(held)["absent"] == 4
    changed = changes.between(held.repository, shas[0], shas[-1], held.revision)
    assert {each.path: each.definitions for each in changed} == {
        "src/shop/mail.py": None,
        "src/shop/views.py": None,
        "tests/test_mail.py": None,
        "tests/test_totals.py": None,
    }
    told = answers.radius(held, changed)
    assert (told["absent"], told["changed_files"]) == (4, 4)
    assert _objects(at) == before


def test_what_a_clone_got_since_is_read(tmp_path: pathlib.Path) -> None:
    at, shas = _clone(tmp_path, "--bare")
    held = _held(at)
    held.at(shas[-1])
    assert answers.about(held)["absent"] == 7
    lab.git(at, "fetch", "--quiet", "--refetch", "--no-filter", (tmp_path / "whole.git").as_uri(), "main")
    again = graph.Graph(objects.Repository(at), store.Store(None), workers=0)
    again.at(shas[-1])
    assert answers.about(again)["absent"] == 0


@pytest.mark.parametrize("limit", [objects.LARGE, 3])
def test_contents_that_are_not_there_are_not_asked_for(tmp_path: pathlib.Path, limit: int) -> None:
    at, shas = _clone(tmp_path)
    repository = objects.Repository(at)
    blobs = {entry.path: entry.blob for entry in repository.ls_tree(shas[0])}
    sizes = {entry.path: entry.size for entry in repository.ls_tree(shas[0])}
    asked = dict(repository.read([blobs["src/shop/views.py"], blobs["src/shop/money.py"]], limit))
    assert asked[blobs["src/shop/views.py"]] is None
    assert (asked[blobs["src/shop/money.py"]] is None) == (limit == 3)
    assert (sizes["src/shop/views.py"], sizes["src/shop/money.py"]) == (-1, len(shop.MONEY))
