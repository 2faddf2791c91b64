"""A diff that somebody hands in is read as the same changes that git itself would tell."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegraph import changes, diffs, graph, patch
from tests.codegraph import lab, shop


def _graph(tmp_path: pathlib.Path, at: str) -> graph.Graph:
    held = graph.Graph.open(tmp_path, folder=tmp_path / "kept")
    held.at(at)
    return held


@pytest.mark.parametrize("context", ["-U0", "-U3", "-U100"])
def test_a_diff_with_any_context_gives_what_two_commits_give(tmp_path: pathlib.Path, context: str) -> None:
    shas = shop.build(tmp_path)
    held = _graph(tmp_path, shas[0])
    for head in shas[1:]:
        diff = lab.git(tmp_path, "diff", context, "--no-renames", shas[0], head).encode() + b"\n"
        found = patch.read(diff, held.revision)
        assert found
        assert sorted(found, key=lambda each: each.path) == sorted(
            changes.between(held.repository, shas[0], head, held.revision), key=lambda each: each.path
        )


def test_a_changed_definition_is_named_and_its_neighbour_is_not(tmp_path: pathlib.Path) -> None:
    shas = shop.build(tmp_path)
    held = _graph(tmp_path, shas[0])
    (found,) = patch.read(lab.git(tmp_path, "diff", shas[3], shas[4]).encode(), held.revision)
    assert (found.path, found.names, found.new) == ("src/shop/views.py", ("login",), False)


def test_a_removed_line_that_looks_like_a_heading_is_a_line(tmp_path: pathlib.Path) -> None:
    before = {b"q.sql.py": b"-- a/other.py\n++ b/other.py\nx = 1\n", b"other.py": b"y = 1\n"}
    (base,) = lab.make(tmp_path, [lab.Commit(before)])
    diff = b"--- a/q.sql.py\n+++ b/q.sql.py\n@@ -1,3 +1,2 @@\n--- a/other.py\n-++ b/other.py\n+++ b/other.py\n x = 1\n"
    found = patch.read(diff, _graph(tmp_path, base).revision)
    assert [each.path for each in found] == ["q.sql.py"]


def test_a_new_file_is_known_by_what_the_diff_adds(tmp_path: pathlib.Path) -> None:
    held = _graph(tmp_path, shop.build(tmp_path)[-1])
    diff = (
        b"diff --git a/src/shop/tax.py b/src/shop/tax.py\nnew file mode 100644\n--- /dev/null\n+++ b/src/shop/tax.py\n"
        b"@@ -0,0 +1,2 @@\n+def vat(net):\n+    return net * 0.2\n\\ No newline at end of file\n"
    )
    (found,) = patch.read(diff, held.revision)
    assert (found.path, found.new, found.names) == ("src/shop/tax.py", True, ("vat",))


def test_deleted_renamed_and_oddly_named_files_are_found_by_their_old_names() -> None:
    diff = (
        b"--- a/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        b"--- a/old.py\t2026-01-01\n+++ b/new.py\n@@ -1,2 +1,2 @@\r\n y\n-x\n+z\n"
        b'--- "a/caf\\303\\251\\t\\".py"\n+++ "b/caf\\303\\251\\t\\".py"\n@@ -4,0 +5 @@\n+new\n'
    )
    found = diffs.parts(diff)
    assert [(each.path, each.new) for each in found] == [("gone.py", False), ("old.py", False), ('café\t".py', False)]
    assert [[number for part in each.lines for number in part] for each in found] == [[1], [2], []]
    assert [[one.before for one in each.inserted] for each in found] == [[], [], [5]]


def test_a_file_that_only_moves_is_changed_as_a_whole(tmp_path: pathlib.Path) -> None:
    held = _graph(tmp_path, shop.build(tmp_path)[-1])
    heading = b"diff --git a/src/shop/mail.py b/src/post.py\nsimilarity index %d%%\n"
    moved = heading % 100 + b"rename from src/shop/mail.py\nrename to src/post.py\n"
    (found,) = patch.read(moved, held.revision)
    assert (found.path, found.new, found.definitions) == ("src/shop/mail.py", False, None)
    edited = heading % 90 + moved.partition(b"%\n")[2]
    edited += b"--- a/src/shop/mail.py\n+++ b/src/post.py\n@@ -1 +1 @@\n-a\n+b\n"
    (found,) = patch.read(edited, held.revision)
    assert found.definitions == frozenset({len(found.known.definitions)})


def test_files_that_nobody_indexes_are_left_out(tmp_path: pathlib.Path) -> None:
    held = _graph(tmp_path, shop.build(tmp_path)[-1])
    readme = b"--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-a\n+b\n"
    vendored = b"--- /dev/null\n+++ b/node_modules/x.js\n@@ -0,0 +1 @@\n+a\n"
    assert patch.read(readme + vendored, held.revision) == ()


def test_links_and_submodules_are_no_code(tmp_path: pathlib.Path) -> None:
    shas = lab.make(
        tmp_path,
        [
            lab.Commit(
                {b"real.py": b"x = 1\n", b"e_was_link.py": (lab.LINK, b"real.py"), b"f_was_code.py": b"y = 1\n"}
            ),
            lab.Commit(
                {
                    b"a_link.py": (lab.LINK, b"real.py"),
                    b"b_empty.py": b"",
                    b"c_module.py": (lab.SUBMODULE, b"1" * 40),
                    b"d_code.py": b"def pay():\n    pass\n",
                    b"e_was_link.py": b"def now():\n    pass\n",
                    b"f_was_code.py": (lab.LINK, b"real.py"),
                    b"real.py": b"x = 2\n",
                }
            ),
        ],
    )
    held = _graph(tmp_path, shas[0])
    diff = lab.git(tmp_path, "diff", shas[0], shas[1]).encode() + b"\n"
    found = patch.read(diff, held.revision)
    assert sorted((each.path, each.new) for each in found) == [
        ("d_code.py", True),
        ("e_was_link.py", True),
        ("f_was_code.py", False),
        ("real.py", False),
    ]


def test_a_copy_is_a_new_file_and_no_change_of_its_source(tmp_path: pathlib.Path) -> None:
    body = b"".join(b"def one%d():\n    return %d\n\n\n" % (number, number) for number in range(20))
    files = {b"copy.py": body + b"def more():\n    pass\n", b"src.py": body.replace(b"return 0\n", b"return 9\n")}
    shas = lab.make(tmp_path, [lab.Commit({b"src.py": body}), lab.Commit(files)])
    diff = lab.git(tmp_path, "diff", "-C", *shas).encode() + b"\n"
    assert b"copy from src.py" in diff
    copy, source = sorted(patch.read(diff, _graph(tmp_path, shas[0]).revision), key=lambda each: each.path)
    assert (copy.path, copy.new, copy.names) == ("copy.py", True, ("more",))
    assert (source.path, source.new, source.names) == ("src.py", False, ("one0",))


def test_the_prefixes_that_a_user_has_set_are_taken_off(tmp_path: pathlib.Path) -> None:
    files = {b"i/old.py": b"x = 1\n", b"b.py": b"y = 1\n"}
    changed = {b"i/old.py": b"x = 2\n", b"b.py": b"y = 2\n", b"w/new.py": b"def fresh():\n    pass\n"}
    shas = lab.make(tmp_path, [lab.Commit(files), lab.Commit(changed)])
    held = _graph(tmp_path, shas[0])
    plain = patch.read(lab.git(tmp_path, "diff", *shas).encode() + b"\n", held.revision)
    assert [each.path for each in plain] == ["w/new.py", "b.py", "i/old.py"]
    for source, target in (("c/", "i/"), ("i/", "w/"), ("c/", "w/"), ("1/", "2/")):
        options = (f"--src-prefix={source}", f"--dst-prefix={target}")
        diff = lab.git(tmp_path, "diff", *options, *shas).encode() + b"\n"
        assert patch.read(diff, held.revision) == plain, options


def test_a_new_file_of_another_program_s_diff_is_new(tmp_path: pathlib.Path) -> None:
    (base,) = lab.make(tmp_path, [lab.Commit({b"old.py": b"x = 1\n"})])
    diff = (
        b"diff -urN a/new.py b/new.py\n--- a/new.py\t1970-01-01 00:00:00\n+++ b/new.py\t2026-01-01 00:00:00\n"
        b"@@ -0,0 +1,2 @@\n+def fresh():\n+    pass\n"
    )
    (found,) = patch.read(diff, _graph(tmp_path, base).revision)
    assert (found.path, found.new, found.names) == ("new.py", True, ("fresh",))


@given(
    st.lists(
        st.sampled_from([b"--- a/x.py", b"+++ b/x.py", b"@@ -1,9 +1,9 @@", b"-a", b"+b", b" c", b"\\", b"", b"\0"])
    )
)
def test_no_text_breaks_the_reading(lines: list[bytes]) -> None:
    for part in diffs.parts(b"\n".join(lines)):
        assert part.path == "x.py"
        assert all(number >= 1 for lines_ in part.lines for number in lines_)
