"""What a difference touches: the definitions whose own lines change, and every file, even of a very large one."""

import pathlib

import pytest

from codegraph import answers, blast, changes, diffs, extract, graph, objects, patch, store
from tests.codegraph import lab

_PYTHON = b"""import os

def first():
    return 1


class Cart:
    def total(self):
        return 2
"""
_GO = b"package a\n\nfunc First() int {\n\treturn 1\n}\n\nfunc Second() int {\n\treturn 2\n}\n"


@pytest.mark.parametrize(
    ("text", "language", "after", "added", "expected"),
    [
        (_PYTHON, "python", 4, ["", "", "def new():", "    return 3"], set()),
        (_PYTHON, "python", 4, ["    more = 1"], {"first"}),
        (_PYTHON, "python", 3, ["    more = 1"], {"first"}),
        (_PYTHON, "python", 2, ["@cached"], {"first"}),
        (_PYTHON, "python", 2, ["x = 1"], set()),
        (_PYTHON, "python", 9, ["", "", "def new():", "    return 3"], set()),
        (_PYTHON, "python", 9, ["", "    def other(self):", "        return 3"], {"Cart"}),
        (_PYTHON, "python", 9, ["        return 4"], {"Cart.total"}),
        (_PYTHON, "python", 7, ["    size = 3"], {"Cart"}),
        (_GO, "go", 5, ["", "func New() {", "\treturn", "}"], set()),
        (_GO, "go", 9, ["", "func New() {}"], set()),
        (_GO, "go", 4, ["\tlater()"], {"First"}),
    ],
)
def test_an_insertion_changes_what_it_is_put_into(
    text: bytes, language: str, after: int, added: list[str], expected: set[str]
) -> None:
    known = extract.extract(text, language)
    lines = [line.encode() for line in added]
    body = b"\n".join(b"+" + line for line in lines) + b"\n"
    bare = b"--- a/x\n+++ b/x\n@@ -%d,0 +%d,%d @@\n" % (after, after + 1, len(lines)) + body
    (part,) = diffs.parts(bare)
    found = changes.touched(known, part)
    assert found is not None
    assert {known.definitions[place].name for place in found if place < len(known.definitions)} == expected
    around = text.splitlines()[after - 1 : after + 1]
    old = b"".join(b" " + line + b"\n" for line in around)
    heading = b"@@ -%d,%d +%d,%d @@\n" % (after, len(around), after, len(around) + len(lines))
    whole = b"--- a/x\n+++ b/x\n" + heading + old.replace(b"\n", b"\n" + body, 1)
    assert changes.touched(known, diffs.parts(whole)[0]) == found, "the same with lines around it"


def test_a_line_that_is_put_in_the_place_of_another_changes_what_held_it() -> None:
    known = extract.extract(_PYTHON, "python")
    (part,) = diffs.parts(b"--- a/x\n+++ b/x\n@@ -4 +4,4 @@\n-    return 1\n+    return 2\n+\n+def new():\n+    pass\n")
    assert [known.definitions[place].name for place in changes.touched(known, part) or ()] == ["first"]


def test_no_file_of_a_large_change_is_forgotten(tmp_path: pathlib.Path) -> None:
    at = tmp_path / "many.git"
    count = changes.MOST_FILES + 15
    before: dict[bytes, lab.Contents | None] = {
        b"f%02d.py" % n: b"def f%d():\n    return 1\n" % n for n in range(count)
    }
    after: dict[bytes, lab.Contents | None] = {
        path: b"def g():\n    return 2\n" * (1 + (path == b"f70.py")) for path in before
    }
    fresh: dict[bytes, lab.Contents | None] = {b"new%02d.py" % n: b"def h():\n    return 2\n" for n in range(9)}
    shas = lab.make(at, [lab.Commit(before), lab.Commit({**after, **fresh})])
    held = graph.Graph(objects.Repository(at), store.Store(None), workers=0)
    revision = held.at(shas[0])
    found = changes.between(held.repository, shas[0], shas[1], revision)
    assert {each.path for each in found} == {path.decode() for path in {**before, **fresh}}
    assert [each.definitions for each in found[changes.MOST_FILES :]] == [frozenset()] * (len(found) - 60)
    assert all(each.definitions for each in found[: changes.MOST_FILES])
    diff = lab.git(at, "diff", "--no-renames", *shas).encode() + b"\n"
    assert {each.path for each in patch.read(diff, revision)} == {each.path for each in found}
    radius = blast.radius(revision, found)
    assert radius.left_out == len(found) - 20
    assert radius.ranked == (), "what changes itself is not what a change bears on"
    told = answers.radius(held, found)
    assert (told["changed_files"], told["left_out"]) == (len(found), len(found) - 20)
