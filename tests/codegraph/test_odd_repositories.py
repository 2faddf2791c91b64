"""Repositories as no program writes them, and callers in odd places: the answer is the same, and nothing raises."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys

import pytest
import tree_sitter

from codegraph import batch, changes, diffs, graph, history, languages, log, manifest, objects, patch, store
from tests.codegraph import lab

_CART = b"def total(items):\n    return sum(items)\n\n\ndef tax(price):\n    return price * 2\n"
_LATER = _CART.replace(b"* 2", b"* 3")


def _two(at: pathlib.Path, later: dict[bytes, lab.Contents | None]) -> tuple[str, str]:
    first, second = lab.make(at, [lab.Commit({b"cart.py": _CART}), lab.Commit(later)])
    return first, second


def _between(at: pathlib.Path, base: str, head: str) -> tuple[changes.Change, ...]:
    held = graph.Graph(objects.Repository(at), store.Store(None), workers=0)
    return changes.between(held.repository, base, head, held.at(base))


@pytest.mark.parametrize(
    ("who", "time"),
    [
        ("A <a@example.com>", 0),
        ("A <a@example.com> yesterday +0000", 0),
        ("A <a@example.com> -5 +0000", 0),
        ("A 1700000000 +0000", 0),
        ("", 0),
        (f"A <a@example.com> {'9' * 5_000} +0000", 0),
        ("A <a@example.com> 253402300800 +0000", 253_402_300_800),
    ],
)
def test_a_commit_without_a_date_is_a_commit_of_the_past(tmp_path: pathlib.Path, who: str, time: int) -> None:
    first = lab.tree(tmp_path, {"cart.py": _CART})
    tree = lab.git(tmp_path, "rev-parse", "main^{tree}")
    raw = f"tree {tree}\nparent {first}\nauthor {who}\ncommitter {who}\n\nodd\n".encode()
    odd = lab.git(tmp_path, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw)
    last = lab.git(tmp_path, "commit-tree", tree, "-p", odd, "-m", "last")
    known = history.load(objects.Repository(tmp_path), last, store.Store(None))
    assert [(each.sha, each.text) for each in known.commits] == [(last, "last"), (odd, "odd"), (first, "change")]
    assert known.commits[1].time == time
    assert [each.time for each in objects.Repository(tmp_path).commits(odd, 9) if each.sha == odd] == [time]


def test_a_commit_in_another_encoding_than_it_says_is_a_commit_of_the_past(tmp_path: pathlib.Path) -> None:
    first = lab.tree(tmp_path, {"cart.py": _CART})
    tree = lab.git(tmp_path, "rev-parse", "main^{tree}")
    who = "A <a@example.com> 1700000000 +0000"
    raw = f"tree {tree}\nparent {first}\nauthor {who}\ncommitter {who}\nencoding utf-16\n\nodd\n".encode()
    odd = lab.git(tmp_path, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw)
    known = history.load(objects.Repository(tmp_path), odd, store.Store(None))
    assert [each.sha for each in known.commits] == [odd, first]


@pytest.mark.parametrize("name", ["line\nbreak", "end\n", "separator\u2028", "next\x85line", "carriage\rreturn"])
def test_a_repository_may_lie_in_a_folder_of_any_name(tmp_path: pathlib.Path, name: str) -> None:
    lab.tree(tmp_path / name.partition("\n")[0], {"other.py": b"x = 1\n"})
    at = tmp_path / name / "repo"
    sha = lab.tree(at, {"cart.py": _CART})
    repository = objects.Repository(at)
    assert repository.common_dir == at
    assert [entry.path for entry in repository.ls_tree(sha)] == ["cart.py"]


def test_a_repository_that_git_cannot_use_is_not_taken_for_none(tmp_path: pathlib.Path) -> None:
    lab.tree(tmp_path, {"cart.py": _CART})
    (tmp_path / "config").write_text("[core\n")
    with pytest.raises(objects.Error, match="bad config") as raised:
        objects.Repository(tmp_path)
    assert not isinstance(raised.value, objects.NotARepository)


@pytest.mark.parametrize("core", ["bare = false", "bare = false\n\tworktree = {}"])
def test_attributes_of_no_folder_change_what_a_change_touches(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, core: str
) -> None:
    at = tmp_path / "repo.git"
    base, head = _two(at, {b"cart.py": _LATER})
    around = tmp_path / "around"
    around.mkdir()
    (around / ".gitattributes").write_text("*.py binary\n")
    monkeypatch.chdir(around)
    with (at / "config").open("a") as config:
        config.write(f"[core]\n\t{core}\n".format(around))
    blob = lab.git(at, "hash-object", "-w", "--stdin", stdin=b"*.py binary\n")
    lab.git(at, "--work-tree=.", "update-index", "--add", "--cacheinfo", f"100644,{blob},.gitattributes")
    (found,) = _between(at, base, head)
    assert found.names == ("tax",)
    assert found.definitions is not None


def test_a_branch_may_have_a_name_as_long_as_git_takes(tmp_path: pathlib.Path) -> None:
    sha = lab.tree(tmp_path, {"cart.py": _CART})
    name = "/".join(["b" * 100] * 9)
    lab.git(tmp_path, "update-ref", f"refs/heads/{name}", sha)
    assert objects.Repository(tmp_path).resolve(name) == sha


def test_a_commit_is_found_by_the_words_of_its_message(tmp_path: pathlib.Path) -> None:
    first, _ = lab.make(tmp_path, [lab.Commit({b"a.py": b"a = 1\n"}, text=b"the tax of the cart"), lab.Commit({})])
    assert objects.Repository(tmp_path).resolve(":/tax of") == first
    with pytest.raises(objects.NoSuchRevision):
        objects.Repository(tmp_path).resolve(":/nobody said this")


@pytest.mark.parametrize("rev", ["\ud800", "main\udfff\ud800", "x" * 5_000, "main:a.py", ":/"])
def test_what_is_no_commit_is_refused_whatever_is_written(tmp_path: pathlib.Path, rev: str) -> None:
    lab.tree(tmp_path, {"a.py": b"a = 1\n"})
    lab.git(tmp_path, "update-ref", "-d", "refs/heads/main")
    with pytest.raises(objects.NoSuchRevision):
        objects.Repository(tmp_path).resolve(rev)


def test_a_branch_whose_commit_is_lost_is_not_taken_for_none(tmp_path: pathlib.Path) -> None:
    base, head = _two(tmp_path, {b"cart.py": _LATER})
    kept = lab.git(tmp_path, "rev-list", "--objects", "--no-object-names", base).encode() + b"\n"
    lab.git(tmp_path, "pack-objects", "--quiet", str(tmp_path / "kept"), stdin=kept)
    for pack in (tmp_path / "objects" / "pack").glob("pack-*"):
        pack.unlink()
    for loose in (tmp_path / "objects").glob("??/*"):
        loose.unlink()
    for pack in tmp_path.glob("kept-*"):
        pack.rename(tmp_path / "objects" / "pack" / pack.name.replace("kept", "pack"))
    repository = objects.Repository(tmp_path)
    assert repository.resolve(base) == base
    with pytest.raises(objects.NoSuchRevision):
        repository.resolve(head)
    with pytest.raises(objects.Error, match=f"'main' is the commit {head}, which cannot be read") as raised:
        repository.resolve("main")
    assert not isinstance(raised.value, objects.NoSuchRevision)


def test_a_new_path_that_is_no_text_is_told_with_escapes(tmp_path: pathlib.Path) -> None:
    base, head = _two(tmp_path, {b"bad\xff.py": b"def bad():\n    pass\n"})
    assert [each.path for each in _between(tmp_path, base, head)] == ["bad\\xff.py"]


def test_what_no_index_holds_is_not_new_code_of_a_change(tmp_path: pathlib.Path) -> None:
    made = b"# Code generated by a program. DO NOT EDIT.\ndef made():\n    return 1\n"
    base, head = _two(
        tmp_path, {b"made.py": made, b"link.py": (lab.LINK, b"cart.py"), b"nul.py": b"x = 1\0\n", b"new.py": b"x = 1\n"}
    )
    assert [each.path for each in _between(tmp_path, base, head)] == ["new.py"]
    held = graph.Graph(objects.Repository(tmp_path), store.Store(None), workers=0)
    shown = lab.git(tmp_path, "diff", "--text", base, head, "--", ":!link.py").encode() + b"\n"
    assert [each.path for each in patch.read(shown, held.at(base))] == ["new.py"]


def test_a_change_is_the_same_by_its_commits_and_by_its_diff(tmp_path: pathlib.Path) -> None:
    base, head = _two(tmp_path, {b"cart.py": _LATER, b"new.py": _CART, b"a.py": b"a = 1\n"})
    held = graph.Graph(objects.Repository(tmp_path), store.Store(None), workers=0)
    revision = held.at(base)
    shown = lab.git(tmp_path, "diff", base, head).encode() + b"\n"
    found = changes.between(held.repository, base, head, revision)
    assert found == patch.read(shown, revision)
    assert [each.path for each in found] == ["new.py", "a.py", "cart.py"]


def test_a_heading_of_any_number_is_no_error() -> None:
    digits = b"9" * 5_000
    diff = b"--- a/x.py\n+++ b/x.py\n@@ -%s +1 @@\n-a\n+b\n@@ -1 +%s @@\n-a\n+b\n" % (digits, digits)
    assert [part.lines for part in diffs.parts(diff)] == [[range(1, 2)]]


def test_a_worker_keeps_a_limit_of_memory_that_is_below_its_own(tmp_path: pathlib.Path) -> None:
    at = tmp_path / "repo.git"
    lab.tree(at, {"cart.py": _CART})
    asked = f"ulimit -v 2000000; exec {sys.executable} -m codegraph stats --repo {at} --store {tmp_path}/store"
    root = pathlib.Path(graph.__file__).parents[1]
    said = subprocess.run(["bash", "-c", asked], cwd=root, capture_output=True, check=False)
    assert said.returncode == 0, said.stdout
    assert b'"python": {"files": 1, "parsed": 1' in said.stdout


def test_a_row_that_holds_text_for_bytes_is_forgotten(tmp_path: pathlib.Path) -> None:
    key = store.Key("a" * 40, "python")
    with store.Store(tmp_path) as kept:
        kept.add({key: store.Row("generated", False, b"")})
        kept.add_commits({"b" * 40: b"row"}, history.VERSION)
        db = kept._shelf.db
        db.execute("UPDATE facts SET payload = ''")
        db.execute("UPDATE commits SET payload = 'row'")
        assert kept.facts([key]) == {}
        assert kept.commits(["b" * 40], history.VERSION) == {}


def test_facts_of_another_release_of_the_parser_are_made_anew(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.Key("a" * 40, "python")
    version = importlib.metadata.version

    def later(name: str) -> str:
        return "99.0" if name == "tree-sitter" else version(name)

    with store.Store(tmp_path) as kept:
        kept.add({key: store.Row("", False, b"facts")})
        assert kept.known([key])
        monkeypatch.setattr(importlib.metadata, "version", later)
        store._grammar.cache_clear()
        try:
            assert kept.known([key]) == {}
        finally:
            monkeypatch.undo()
            store._grammar.cache_clear()


@pytest.mark.parametrize("what", ["parser", "query"])
def test_a_grammar_that_does_not_fit_is_reported_as_missing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def no_language(_: object) -> tree_sitter.Language:
        raise ValueError("Incompatible Language version 99")

    lab.tree(tmp_path, {"a.go": b"package till\n"})
    if what == "parser":
        monkeypatch.setattr(tree_sitter, "Language", no_language)
    else:
        monkeypatch.setattr(languages, "_query", lambda _: "(no_such_node)")
    for cached in (languages.grammar, manifest.installed):
        cached.cache_clear()
    try:
        made = manifest.build(objects.Repository(tmp_path), "main", store.Store(None), workers=0)
        assert made.report.missing == made.report.unparsed == {"go": 1}
    finally:
        monkeypatch.undo()
        for cached in (languages.grammar, manifest.installed):
            cached.cache_clear()


def _asked(at: pathlib.Path, tmp_path: pathlib.Path, case: str, mirror: pathlib.Path | None = None) -> batch.Report:
    questions = tmp_path / "questions.jsonl"
    questions.write_bytes(b"\xef\xbb\xbf" + case.replace("\n", "\r\n").encode())
    places = batch.Places([at], mirror, tmp_path / "stores", workers=0)
    return batch.run("locate", batch.read(questions), places, tmp_path / "out.jsonl")


@pytest.mark.parametrize("parent", ["\\ud800", "x\\u0000y", "x\\ny"])
def test_a_commit_that_no_bytes_name_is_left_out_alone(tmp_path: pathlib.Path, parent: str) -> None:
    sha = lab.tree(tmp_path / "repo.git", {"cart.py": _CART})
    good = f'{{"id": "1", "parent": "{sha}", "text": "tax"}}\n'
    report = _asked(tmp_path / "repo.git", tmp_path, f'{{"id": "2", "parent": "{parent}", "text": "tax"}}\n{good}')
    assert (report.written, report.elsewhere, report.failed) == (1, 1, {})


@pytest.mark.parametrize("name", ["\\ud800/x", "a\\u0000/b", "a" * 5_000, "a/" * 3_000])
def test_a_repository_that_no_folder_can_be_called_like_is_left_out_alone(tmp_path: pathlib.Path, name: str) -> None:
    sha = lab.tree(tmp_path / "repo.git", {"cart.py": _CART})
    case = f'{{"id": "1", "repo": "{name}", "parent": "{sha}", "text": "tax"}}\n'
    report = _asked(tmp_path / "repo.git", tmp_path, case, tmp_path)
    assert (report.written, report.elsewhere, report.failed) == (1, 0, {})


def test_a_line_deeper_than_json_may_be_is_named(tmp_path: pathlib.Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"id": "1"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(batch.Error, match=r"questions\.jsonl:2 is no case"):
        batch.read(questions)


def test_a_name_that_no_file_can_have_is_named(tmp_path: pathlib.Path) -> None:
    places = batch.Places([], None, None)
    with pytest.raises(batch.Error, match="cannot be written"):
        batch.run("locate", [], places, tmp_path / ("o" * 300))


def test_a_date_is_a_number_that_git_could_mean() -> None:
    row = "a" * 40
    assert [each.time for each in log.links(f"{row} 12 \n{row}  \n{row} {'9' * 19} {row}\n".encode())] == [12, 0, 0]


def test_no_environment_of_git_is_needed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = lab.tree(tmp_path / "repo.git", {"cart.py": _CART})
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.repositoryformatversion")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "99")
    assert [each.path for each in objects.Repository(tmp_path / "repo.git").ls_tree(sha)] == ["cart.py"]
