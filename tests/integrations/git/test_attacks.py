"""What an agent may build beyond planted commands: objects, repositories and histories that git would not have made."""

import hashlib
import os
import time
import zlib
from collections.abc import Callable

import pytest

from domain import errors
from integrations.git import checks, untrusted
from tests.integrations.git.lab import BRANCH, Lab, git, write

SECRET_OF_THE_HOST = "root:$6$not-for-a-repository"


def _adopt(lab: Lab, commit: str) -> None:
    """The agent's branch is at this commit, which git itself might refuse."""
    (lab.clone / ".git" / "refs" / "heads" / BRANCH).write_text(f"{commit}\n")


def _object(lab: Lab, kind: str, content: bytes) -> str:
    return git(lab.clone, "hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=content)


def _entry(mode: str, name: bytes, sha: str) -> bytes:
    return mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha)


def _commit_of(lab: Lab, tree: str) -> str:
    return _object(lab, "commit", _plain_commit(tree, lab.first).encode())


# --- objects that git would not have made ---

BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""The empty file."""
TREES: dict[str, Callable[[], bytes]] = {
    "git's own directory": lambda: _entry("40000", b".git", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
    "git's own directory in capitals": lambda: _entry("100644", b".GIT", BLOB),
    "a parent directory": lambda: _entry("100644", b"..", BLOB),
    "the directory itself": lambda: _entry("100644", b".", BLOB),
    "a name without letters": lambda: _entry("100644", b"", BLOB),
    "a path as a name": lambda: _entry("100644", b"../../etc/cron.d/x", BLOB),
    "the same name twice": lambda: _entry("100644", b"a", BLOB) + _entry("100755", b"a", BLOB),
    "names out of order": lambda: _entry("100644", b"b", BLOB) + _entry("100644", b"a", BLOB),
    "an object without a name": lambda: _entry("100644", b"a", "0" * 40),
    "an object that is not there": lambda: _entry("100644", b"a", "12" * 20),
    "a mode with a leading zero": lambda: _entry("0100644", b"a", BLOB),
    "a device": lambda: _entry("20666", b"a", BLOB),
    "a file that runs as its owner": lambda: _entry("104755", b"a", BLOB),
    "half an entry": lambda: _entry("100644", b"a", BLOB)[:-5],
    "a submodule": lambda: _entry("160000", b"lib", "12" * 20),
    "a name for another file system": lambda: _entry("100644", "a\u200c/.git".replace("/", "\\").encode(), BLOB),
}


@pytest.mark.parametrize("name", TREES)
async def test_a_tree_that_git_would_not_have_made_is_refused(lab: Lab, name: str) -> None:
    await lab.prepare()
    _object(lab, "blob", b"")
    _adopt(lab, _commit_of(lab, _object(lab, "tree", TREES[name]())))
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()
    assert lab.tip() == ""


COMMITS: dict[str, Callable[[str, str], str]] = {
    "without an author": lambda tree, parent: f"tree {tree}\nparent {parent}\ncommitter A <a@b> 1 +0000\n\nx\n",
    "without a tree": lambda tree, parent: f"parent {parent}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n",
    "of a tree that is a file": lambda tree, parent: _plain_commit(BLOB, parent),
    "of a parent that is a tree": lambda tree, parent: _plain_commit(tree, tree),
    "of a parent that is not there": lambda tree, parent: _plain_commit(tree, "34" * 20),
    "with a zero byte in its header": lambda tree, parent: _plain_commit(tree, parent).replace("A <", "A\0B <"),
    "in a time that does not fit": lambda tree, parent: _plain_commit(tree, parent).replace("> 1 ", f"> {9:0<20} "),
    "without an end": lambda tree, parent: f"tree {tree}\nparent {parent}\nauthor A <a@b",
}  # fmt: skip  # a table


def _plain_commit(tree: str, parent: str) -> str:
    return f"tree {tree}\nparent {parent}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n"


@pytest.mark.parametrize("name", COMMITS)
async def test_a_commit_that_git_would_not_have_made_is_refused(lab: Lab, name: str) -> None:
    await lab.prepare()
    _object(lab, "blob", b"")
    tree = git(lab.clone, "rev-parse", "HEAD^{tree}")
    _adopt(lab, _object(lab, "commit", COMMITS[name](tree, lab.first).encode()))
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()
    assert lab.tip() == ""


async def test_an_object_under_the_name_of_another_one_is_refused(lab: Lab) -> None:
    """The file's name is the object's identity: a false one would show checkers other content than readers."""
    await lab.prepare()
    lab.commit({"a.txt": "harmless\n"})
    blob = git(lab.clone, "rev-parse", "HEAD:a.txt")
    loose = lab.clone / ".git" / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(zlib.compress(b"blob 9\0something"))
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()


def _damaged_pack(lab: Lab) -> None:
    git(lab.clone, "repack", "-q", "-a", "-d")
    [pack] = (lab.clone / ".git" / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0xFF
    pack.write_bytes(content)


def _cut_pack(lab: Lab) -> None:
    git(lab.clone, "repack", "-q", "-a", "-d")
    [pack] = (lab.clone / ".git" / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-30])


def _cut_object(lab: Lab) -> None:
    sha = git(lab.clone, "rev-parse", "HEAD^{tree}")
    loose = lab.clone / ".git" / "objects" / sha[:2] / sha[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:5])


def _directory_as_object(lab: Lab) -> None:
    sha = git(lab.clone, "rev-parse", "HEAD^{tree}")
    loose = lab.clone / ".git" / "objects" / sha[:2] / sha[2:]
    loose.unlink()
    loose.mkdir()


def _pipe_as_object(lab: Lab) -> None:
    sha = git(lab.clone, "rev-parse", "HEAD^{tree}")
    loose = lab.clone / ".git" / "objects" / sha[:2] / sha[2:]
    loose.unlink()
    os.mkfifo(loose)


def _pipe_as_ref(lab: Lab) -> None:
    ref = lab.clone / ".git" / "refs" / "heads" / BRANCH
    ref.unlink()
    os.mkfifo(ref)


def _link_as_ref(lab: Lab) -> None:
    ref = lab.clone / ".git" / "refs" / "heads" / BRANCH
    (lab.root / "sha").write_text(ref.read_text())
    ref.unlink()
    ref.symlink_to(lab.root / "sha")


def _pipe_as_packed_refs(lab: Lab) -> None:
    (lab.clone / ".git" / "refs" / "heads" / BRANCH).unlink()
    os.mkfifo(lab.clone / ".git" / "packed-refs")


def _endless_head(lab: Lab) -> None:
    (lab.clone / ".git" / "HEAD").unlink()
    (lab.clone / ".git" / "HEAD").symlink_to("/dev/zero")


def _head_of_a_tag(lab: Lab) -> None:
    git(lab.clone, "tag", "-a", "v1", "-m", "x")
    (lab.clone / ".git" / "HEAD").write_text(git(lab.clone, "rev-parse", "v1") + "\n")


def _git_directory_elsewhere(lab: Lab) -> None:
    """`commondir` sends git to another repository for its objects and refs."""
    elsewhere = lab.root / "elsewhere"
    git(lab.root, "init", "--quiet", str(elsewhere))
    write(elsewhere, {"theirs.txt": "another team's\n"})
    git(elsewhere, "add", "--all")
    git(elsewhere, "commit", "--quiet", "-m", "x")
    (lab.clone / ".git" / "commondir").write_text(f"{elsewhere}/.git\n")
    (lab.clone / ".git" / "HEAD").write_text(git(elsewhere, "rev-parse", "HEAD") + "\n")


@pytest.mark.parametrize(
    "twist",
    [
        _damaged_pack,
        _cut_pack,
        _cut_object,
        _directory_as_object,
        _pipe_as_object,
        _pipe_as_ref,
        _link_as_ref,
        _pipe_as_packed_refs,
        _endless_head,
        _head_of_a_tag,
        _git_directory_elsewhere,
    ],
)
async def test_a_repository_that_is_damaged_on_purpose_is_refused_and_nothing_waits_for_it(
    lab: Lab, twist: Callable[[Lab], None]
) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    twist(lab)
    began = time.perf_counter()
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()
    assert time.perf_counter() - began < 15
    assert lab.tip() == ""


@pytest.mark.parametrize("name", ["multi-pack-index", "pack/multi-pack-index", "info/commit-graph", "info/packs"])
async def test_an_index_that_the_agent_wrote_is_not_believed(lab: Lab, name: str) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    planted = lab.clone / ".git" / "objects" / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(b"MIDX" + b"\xff" * 400)
    (lab.clone / ".git" / "shallow").write_text(f"{lab.first}\n")
    assert (await lab.integrate()).files == ("a.txt",)
    assert not (lab.source.path / "shallow").exists()


async def test_a_file_of_the_host_that_is_linked_as_an_object_does_not_show_in_the_refusal(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    secret = lab.root / "shadow"
    secret.write_text(SECRET_OF_THE_HOST)
    sha = git(lab.clone, "rev-parse", "HEAD^{tree}")
    loose = lab.clone / ".git" / "objects" / sha[:2] / sha[2:]
    loose.unlink()
    os.link(secret, loose)
    with pytest.raises(errors.UnsafeWork) as refused:
        await lab.integrate()
    assert SECRET_OF_THE_HOST[:8] not in str(refused.value)


async def test_a_clone_shares_no_file_with_the_mirror(lab: Lab) -> None:
    """A hard link would let an agent rewrite the mirror's objects, for every run that comes after."""
    await lab.prepare()
    shared = [path for path in lab.clone.rglob("*") if path.is_file() and path.stat().st_nlink > 1]
    assert shared == []
    lab.commit({"a.txt": "a\n"})
    await lab.integrate()
    inodes = {path.stat().st_ino for path in lab.source.path.rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in lab.clone.rglob("*") if path.is_file()}


# --- too much of something ---


def _history(lab: Lab, commits: int) -> None:
    """One commit after another, as fast as git can."""
    lines = [f"reset refs/heads/{BRANCH}\nfrom {lab.first}\n"]
    for n in range(commits):
        lines.append(
            f"commit refs/heads/{BRANCH}\ncommitter A <a@b> {1700000000 + n} +0000\ndata 1\nx\n"
            f"M 100644 inline a.txt\ndata {len(str(n))}\n{n}\n"
        )
    git(lab.clone, "fast-import", "--quiet", "--force", stdin="".join(lines).encode())


async def test_a_history_without_end_is_refused_before_it_is_read(lab: Lab) -> None:
    await lab.prepare()
    _history(lab, 5_000)
    began = time.perf_counter()
    with pytest.raises(errors.UnsafeWork, match="more than 200 commits"):
        await lab.integrate()
    assert time.perf_counter() - began < 30
    assert lab.tip() == ""


async def test_more_objects_than_a_run_can_need_are_not_taken_over(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({f"f{n}.txt": f"{n}\n" for n in range(40)})
    with pytest.raises(errors.UnsafeWork, match="loose objects"):
        await lab.source.import_commits(lab.clone, "issue/acme/api/12", untrusted.ObjectLimits(loose=30))


async def test_a_file_that_unfolds_to_a_thousand_times_its_size_is_refused(lab: Lab) -> None:
    await lab.prepare()
    folder = lab.clone / "big"
    folder.mkdir()
    with (folder / "zeros.bin").open("wb") as file:
        file.truncate(100 * 1024**2)
    git(lab.clone, "add", "--all")
    git(lab.clone, "commit", "--quiet", "-m", "bomb")
    (folder / "zeros.bin").unlink()
    packed = sum(path.stat().st_size for path in (lab.clone / ".git" / "objects").rglob("*") if path.is_file())
    assert packed < 2 * 1024**2, "the trap is not armed"
    with pytest.raises(errors.UnsafeWork, match="104857600 bytes"):
        await lab.integrate()


async def test_a_message_without_end_is_refused(lab: Lab) -> None:
    await lab.prepare()
    tree = git(lab.clone, "rev-parse", "HEAD^{tree}")
    _adopt(lab, _object(lab, "commit", (_plain_commit(tree, lab.first) + "x" * 10_000_000).encode()))
    with pytest.raises(errors.UnsafeWork, match="bytes of message"):
        await lab.integrate()


async def test_a_commit_with_the_same_parent_thousands_of_times_is_handled_in_time(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n"})
    git(lab.clone, "add", "--all")
    tree = git(lab.clone, "write-tree")
    text = _plain_commit(tree, lab.first).replace(f"parent {lab.first}\n", f"parent {lab.first}\n" * 5000)
    _adopt(lab, _object(lab, "commit", text.encode()))
    began = time.perf_counter()
    assert (await lab.integrate()).files == ("a.txt",)
    assert time.perf_counter() - began < 20


def test_the_empty_file_has_the_name_that_the_tables_above_give_it() -> None:
    assert hashlib.sha1(b"blob 0\0", usedforsecurity=False).hexdigest() == BLOB


def test_the_limits_of_the_tests_above_are_those_of_the_product() -> None:
    assert checks.Limits().commits == 200
    assert checks.Limits().file_bytes < 100 * 1024**2
