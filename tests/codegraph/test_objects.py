"""Reading objects: every shape of repository, every kind of entry, and nothing of its configuration."""

import concurrent.futures
import dataclasses
import gc
import itertools
import os
import pathlib
import signal

import hypothesis
import hypothesis.strategies
import pytest

from codegraph import objects
from tests.codegraph import lab


@pytest.fixture
def bare(tmp_path: pathlib.Path) -> pathlib.Path:
    at = tmp_path / "bare.git"
    lab.tree(at, {"a.py": b"a = 1\n", "src/b.py": b"b = 2\n"})
    return at


def test_bare_normal_subfolder_and_worktree_are_one_repository(bare: pathlib.Path, tmp_path: pathlib.Path) -> None:
    normal, other = tmp_path / "normal", tmp_path / "other"
    lab.git(tmp_path, "clone", "--quiet", str(bare), str(normal))
    lab.git(normal, "worktree", "add", "--quiet", "-b", "side", str(other))
    sha = objects.Repository(bare).resolve("main")
    for place in (normal, normal / ".git", normal / "src", other):
        assert objects.Repository(place).resolve("HEAD") == sha
        assert objects.Repository(place).common_dir == normal / ".git"
    assert objects.Repository(other).git_dir == normal / ".git/worktrees/other"


def test_a_folder_without_repository_is_refused_with_its_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(objects.NotARepository, match=str(tmp_path)):
        objects.Repository(tmp_path)
    with pytest.raises(objects.NotARepository):
        objects.Repository(tmp_path / "absent")


def test_revisions_are_named_as_git_names_them(bare: pathlib.Path) -> None:
    lab.git(bare, "tag", "-a", "v1", "-m", "one", "main")
    repo = objects.Repository(bare)
    sha = lab.git(bare, "rev-parse", "main")
    assert {repo.resolve(rev) for rev in ("main", "v1", "HEAD", sha, sha[:12], "refs/heads/main")} == {sha}


@pytest.mark.parametrize(
    "rev",
    [
        "",
        "absent",
        "main\nHEAD",
        "main\0x",
        "--all",
        "main:a.py",
        "HEAD 1 2",
        " ",
        "x" * 10_000,
        "\udcff",
        "0" * 40,
    ],
)
def test_what_names_no_commit_is_refused(bare: pathlib.Path, rev: str) -> None:
    repo = objects.Repository(bare)
    with pytest.raises(objects.NoSuchRevision):
        repo.resolve(rev)
    assert repo.resolve("main")


def test_a_name_that_ends_git_is_refused_like_others(bare: pathlib.Path) -> None:
    (bare / "logs").mkdir()
    sha = lab.git(bare, "rev-parse", "main")
    (bare / "logs" / "HEAD").write_text(f"{'0' * 40} {sha} A <a@example.com> 1 +0000\tmade\n")
    repo = objects.Repository(bare)
    with pytest.raises(objects.NoSuchRevision):
        repo.resolve("HEAD@{77}")
    assert repo.resolve("HEAD@{0}") == repo.resolve("main") == sha


def test_every_kind_of_entry_is_listed(tmp_path: pathlib.Path) -> None:
    files: dict[bytes, lab.Contents] = {
        b"bad-\xff.py": b"x",
        b"README": b"1",
        b"Readme": b"22",
        b"loop": (lab.LINK, b"loop"),
        b"up/down": (lab.LINK, b"../up"),
        b"sub": (lab.SUBMODULE, b"1" * 40),
        b"run.sh": (0o100755, b"#!"),
        b'new\nline "q"\t.py': b"",
    }
    lab.make(tmp_path / "r", [lab.Commit(files)])
    entries = {os.fsencode(entry.path): entry for entry in objects.Repository(tmp_path / "r").ls_tree("main")}
    assert entries.keys() == files.keys()
    assert (entries[b"README"].size, entries[b"Readme"].size, entries[b"sub"].size) == (1, 2, -1)
    assert entries[b"loop"].mode == entries[b"up/down"].mode == objects.SYMLINK
    assert entries[b"sub"].mode == objects.SUBMODULE


def test_blobs_come_in_the_order_they_were_asked_for(tmp_path: pathlib.Path) -> None:
    data = {f"{n}.py": b"n" * n for n in range(1_000)}
    lab.tree(tmp_path / "r", data | {"large": b"x" * (objects.LARGE + 1)})
    repo = objects.Repository(tmp_path / "r")
    entries = {entry.path: entry.blob for entry in repo.ls_tree("main")}
    for few in (3, 1_000):
        wanted = [entries[f"{n}.py"] for n in range(few)]
        wanted += ["0" * 40, entries["large"], repo.resolve("main"), "no\nname", wanted[1]]
        found = list(repo.read(wanted))
        assert [blob for blob, _ in found] == wanted
        assert [data for _, data in found] == [b"n" * n for n in range(few)] + [None] * 4 + [b"n"]


def test_leaving_a_reading_early_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    lab.tree(tmp_path / "r", {f"{n}": b"x" * 9_000 + b"%d" % n for n in range(500)})
    repo = objects.Repository(tmp_path / "r")
    blobs = [entry.blob for entry in repo.ls_tree("main")]
    assert len(list(itertools.islice(repo.read(blobs), 3))) == 3
    del repo
    gc.collect()  # an open pipe or a process that was not awaited would be a warning, so an error


_NAMES = hypothesis.strategies.sampled_from([b"a", b"a.py", b"b", b"b-c", b"d\xff"])
_PATHS = hypothesis.strategies.lists(_NAMES, min_size=1, max_size=3).map(b"/".join)
_CONTENTS = hypothesis.strategies.sampled_from(
    [b"1", b"2", (0o100755, b"1"), (lab.LINK, b"a"), (lab.SUBMODULE, b"1" * 40)]
)
_TREES = hypothesis.strategies.dictionaries(_PATHS, _CONTENTS, max_size=8).map(
    lambda files: {path: files[path] for path in files if not any(other.startswith(path + b"/") for other in files)}
)


@hypothesis.given(hypothesis.strategies.lists(_TREES, min_size=2, max_size=6))
@hypothesis.settings(max_examples=25, deadline=None)
def test_a_difference_is_what_two_listings_say(
    tmp_path_factory: pytest.TempPathFactory, trees: list[dict[bytes, lab.Contents]]
) -> None:
    at = tmp_path_factory.mktemp("r")
    shas = lab.make(at, [lab.Commit(files, whole=True) for files in trees])
    repo = objects.Repository(at)
    for old, new in itertools.pairwise([*shas, shas[0]]):
        before, after = ({entry.path: entry for entry in repo.ls_tree(sha)} for sha in (old, new))
        changed, gone = repo.diff_tree(old, new)
        assert {entry.path: entry for entry in changed} == {
            path: entry for path, entry in after.items() if before.get(path) != entry
        }
        assert sorted(gone) == sorted(before.keys() - after.keys())


def test_objects_that_are_gone_are_none_and_not_an_error(bare: pathlib.Path) -> None:
    repo = objects.Repository(bare)
    (blob,) = (entry.blob for entry in repo.ls_tree("main") if entry.path == "a.py")
    (bare / "objects" / blob[:2] / blob[2:]).unlink()
    assert [entry.size for entry in repo.ls_tree("main")] == [-1, 6]
    assert dict(repo.read([blob])) == {blob: None}


def test_an_error_says_what_is_gone(bare: pathlib.Path) -> None:
    tree = lab.git(bare, "rev-parse", "main:src")
    (bare / "objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(objects.Error, match=tree):
        objects.Repository(bare).ls_tree("main")


def test_a_repository_of_longer_ids_reads_alike(tmp_path: pathlib.Path) -> None:
    at = tmp_path / "r"
    old, new = lab.make(at, [lab.Commit({b"d/a": b"1"}), lab.Commit({b"d/b": b"22"})], "--object-format=sha256")
    repo = objects.Repository(at)
    (entry,), gone = repo.diff_tree(old, new)
    assert (len(old), entry.path, entry.size, gone) == (64, "d/b", 2, [])
    assert list(repo.read([entry.blob])) == [(entry.blob, b"22")]


_PROGRAMS = (
    *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "diff.external", "diff.x.textconv"),
    *("diff.x.command", "filter.x.smudge", "gpg.program", "alias.ls-tree", "remote.o.uploadpack"),
)


def test_nothing_that_a_repository_configures_is_run(bare: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A repository is what somebody else wrote: reading it must not be a way to run a program."""
    ran = tmp_path / "ran"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    trap.chmod(0o755)
    for name in _PROGRAMS:
        lab.git(bare, "config", name, str(trap))
    lab.git(bare, "config", "log.showSignature", "true")
    lab.git(bare, "config", "extensions.partialClone", "o")
    lab.git(bare, "config", "remote.o.promisor", "true")
    lab.git(bare, "config", "remote.o.url", f"ext::{trap}")
    (bare / "info").mkdir(exist_ok=True)
    (bare / "info/attributes").write_text("* diff=x filter=x\n")
    repo = objects.Repository(bare)
    entries = repo.ls_tree("main")
    assert len(dict(repo.read([*(entry.blob for entry in entries), "1" * 40]))) == 3
    assert len(list(repo.changes(each.sha for each in repo.commits("main", 10)))) == 1
    assert not ran.exists()


def test_replaced_objects_are_not_followed(bare: pathlib.Path) -> None:
    repo = objects.Repository(bare)
    first, second = (entry.blob for entry in repo.ls_tree("main"))
    lab.git(bare, "replace", first, second)
    assert dict(objects.Repository(bare).read([first])) == {first: b"a = 1\n"}


def test_grafted_parents_are_not_followed(bare: pathlib.Path) -> None:
    roots = [lab.Commit({b"x": b"1"}, parents=[], branch=branch) for branch in ("one", "two")]
    one, two = lab.make(bare, [roots[0], dataclasses.replace(roots[1], text=b"another")])
    (bare / "info").mkdir(exist_ok=True)
    (bare / "info/grafts").write_text(f"{two} {one}\n")
    repo = objects.Repository(bare)
    assert [each.sha for each in repo.commits(two, 9)] == [two]
    assert [each.parents for each in repo.changes([two])] == [()]


def test_a_session_that_was_ended_is_started_again(bare: pathlib.Path) -> None:
    repo = objects.Repository(bare)
    sha = repo.resolve("main")
    running = repo._headers._process
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert repo.resolve("main") == sha


def test_objects_that_arrive_later_are_found(bare: pathlib.Path) -> None:
    repo = objects.Repository(bare)
    first = repo.resolve("main")
    (second,) = lab.make(bare, [lab.Commit({b"a.py": b"a = 2\n"})])
    assert repo.resolve("main") == second != first
    assert [entry.path for entry in repo.diff_tree(first, second)[0]] == ["a.py"]


def test_threads_share_one_repository(bare: pathlib.Path) -> None:
    repo = objects.Repository(bare)
    blobs = {entry.blob: entry.path for entry in repo.ls_tree("main")}
    texts = {"a.py": b"a = 1\n", "src/b.py": b"b = 2\n"}

    def look(_: int) -> bool:
        return all(data == texts[blobs[blob]] for blob, data in repo.read(blobs)) and repo.resolve("main") != ""

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert all(threads.map(look, range(200)))
