"""Names, files and places for secrets that an agent may choose: nothing is misread, read elsewhere, or let out."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from domain import errors, work
from integrations.git import mirror
from tests.integrations.git.lab import BRANCH, HELD_SECRET, REPO, Lab, git, write

SECRET_OF_THE_HOST = "root:$6$not-for-a-repository"


def _adopt(lab: Lab, tree: str, *, header: str = "", author: str = "Agent <a@example.com> 1700000000 +0000") -> None:
    """The agent's branch is at a commit of this tree, which says what we like."""
    text = f"tree {tree}\nparent {lab.first}\nauthor {author}\ncommitter {author}\n{header}\nWork\n"
    sha = git(lab.clone, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=text.encode())
    (lab.clone / ".git" / "refs" / "heads" / BRANCH).write_text(f"{sha}\n")


NAMES = [
    "--upload-pack=touch x",
    "-rf",
    "*",
    "?",
    "[a]",
    "a b",
    "HEAD",
    "refs/heads/main",
    "$(touch x)",
    "ünï",
    "@{-1}",
]


async def test_names_that_a_command_could_misread_are_just_names(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {name: f"{at}\n" for at, name in enumerate(NAMES)})
    done = await lab.integrate()
    assert set(done.files) == set(NAMES)
    assert done.outcome is work.IntegrationOutcome.PUSHED
    assert not (lab.clone / "x").exists()


@pytest.mark.parametrize("name", [":(exclude)*", ":!x", ":"])
async def test_a_name_that_is_a_pattern_to_git_and_a_stream_to_windows_is_refused(lab: Lab, name: str) -> None:
    await lab.prepare()
    write(lab.clone, {name: "x\n", "a.txt": "a\n"})
    with pytest.raises(errors.UnsafeWork, match="has the path"):
        await lab.integrate()


async def test_a_name_that_is_no_text_is_refused(lab: Lab) -> None:
    await lab.prepare()
    Path(os.fsdecode(os.fsencode(lab.clone) + b"/\xff\xfe.txt")).write_text("x\n")
    with pytest.raises(errors.UnsafeWork, match="UTF-8"):
        await lab.integrate()


# --- files ---


async def test_what_is_no_file_stays_out_of_the_commit_and_nothing_waits_for_it(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n"})
    os.mkfifo(lab.clone / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.getcwd()
        os.chdir(lab.clone)  # the address of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(place)
        assert (await lab.integrate()).files == ("a.txt",)
    assert stat.S_ISFIFO((lab.clone / "pipe").lstat().st_mode)


async def test_a_work_tree_that_the_configuration_moves_elsewhere_is_not_read(lab: Lab) -> None:
    await lab.prepare()
    write(lab.root / "host", {"shadow": SECRET_OF_THE_HOST})
    git(lab.clone, "config", "core.worktree", str(lab.root / "host"))
    assert "shadow" in git(lab.clone, "status", "--short"), "the trap is not armed"
    write(lab.clone, {"a.txt": "a\n"})
    assert (await lab.integrate()).files == ("a.txt",)


async def test_a_repository_above_the_clone_is_not_found(lab: Lab) -> None:
    """Without a `.git` of its own git would look in the parent directories, where an agent may have built one."""
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    os.rename(lab.clone / ".git", lab.clone.parent / ".git")
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()


async def test_an_encoding_that_attributes_name_hides_no_secret(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {".gitattributes": "*.txt working-tree-encoding=UTF-16LE-BOM\n"})
    (lab.clone / "notes.txt").write_bytes(f"\ufeff{HELD_SECRET}\n".encode("utf-16-le"))
    done = await lab.integrate()
    assert done.outcome is work.IntegrationOutcome.UNSAFE
    assert {(f.path, f.rule) for f in done.findings} == {("notes.txt", "known-secret")}
    assert lab.tip() == ""


# --- secrets beside the lines of files ---


def _as_author(lab: Lab) -> None:
    tree = git(lab.clone, "rev-parse", "HEAD^{tree}")
    _adopt(lab, tree, author=f"{HELD_SECRET} <a@example.com> 1700000000 +0000")
    write(lab.clone, {"a.txt": "a\n"})


def _as_header(lab: Lab) -> None:
    write(lab.clone, {"a.txt": "a\n"})
    git(lab.clone, "add", "--all")
    tree = git(lab.clone, "write-tree")
    _adopt(lab, tree, header=f"note {HELD_SECRET}\n")


def _as_message(lab: Lab) -> None:
    lab.commit({"a.txt": "a\n"}, message=f"Fix it\n\n{HELD_SECRET.encode().hex()}")


def _as_file_name(lab: Lab) -> None:
    lab.commit({f"docs/{HELD_SECRET}.md": "a\n"})


def _as_directory(lab: Lab) -> None:
    write(lab.clone, {f"{HELD_SECRET}/a.txt": "a\n"})


def _as_symlink(lab: Lab) -> None:
    (lab.clone / "link").symlink_to(HELD_SECRET)


def _in_a_commit_that_is_undone(lab: Lab) -> None:
    lab.commit({"a.txt": f"{HELD_SECRET}\n"})
    lab.commit({"a.txt": "nothing to see\n"})


def _in_a_merged_side_branch(lab: Lab) -> None:
    git(lab.clone, "checkout", "--quiet", "-b", "side")
    lab.commit({"side.txt": f"{HELD_SECRET}\n"})
    git(lab.clone, "rm", "--quiet", "side.txt")
    git(lab.clone, "commit", "--quiet", "-m", "undo")
    git(lab.clone, "checkout", "--quiet", BRANCH)
    lab.commit({"b.txt": "b\n"})
    git(lab.clone, "merge", "--quiet", "--no-edit", "side")


@pytest.mark.parametrize("now", ["newer", "gone"])
async def test_a_merge_of_old_history_does_not_bring_a_protected_file_back(lab: Lab, now: str) -> None:
    """Such a merge has the file as one of its parents has it, and that parent is the base branch's own."""
    workflow = ".github/workflows/ci.yml"
    if now == "newer":
        old = lab.push({workflow: "on: [pull_request_target]\n"})
        lab.push({workflow: "on: [push]\n", "a.txt": "a\n"})
    else:
        old = lab.first
        lab.push({workflow: "on: [push]\n"})
    await lab.prepare()
    head = lab.commit({"b.txt": "b\n"})
    if now == "newer":
        git(lab.clone, "checkout", "--quiet", old, "--", workflow)
    else:
        git(lab.clone, "rm", "--quiet", workflow)
    tree = git(lab.clone, "write-tree")
    _point(lab, git(lab.clone, "commit-tree", tree, "-p", head, "-p", old, "-m", "Merge"))
    with pytest.raises(errors.UnsafeWork, match=r"ci\.yml"):
        await lab.integrate()
    assert lab.tip() == ""


async def test_a_merge_of_a_base_that_has_moved_on_may_bring_its_protected_files(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"b.txt": "b\n"})
    moved = lab.push({".github/workflows/ci.yml": "on: [push]\n"})
    await lab.source.fetch(mirror.Remote(lab.forge.clone_url(REPO)))
    git(lab.clone, "merge", "--quiet", "--no-edit", moved)
    done = await lab.integrate()
    assert (done.outcome, done.files) == (work.IntegrationOutcome.PUSHED, ("b.txt",))


def _point(lab: Lab, commit: str) -> None:
    git(lab.clone, "reset", "--quiet", "--hard", commit)


def _wide_without_a_mark(lab: Lab) -> None:
    (lab.clone / "a.dat").write_bytes(f"x = {HELD_SECRET}\n".encode("utf-16-be"))


@pytest.mark.parametrize(
    "leak",
    [
        _as_author,
        _as_header,
        _as_message,
        _as_file_name,
        _as_directory,
        _as_symlink,
        _in_a_commit_that_is_undone,
        _in_a_merged_side_branch,
        _wide_without_a_mark,
    ],
)
async def test_a_secret_anywhere_in_the_range_is_not_pushed_and_not_repeated(
    lab: Lab, leak: Callable[[Lab], None]
) -> None:
    await lab.prepare()
    leak(lab)
    done = await lab.integrate()
    assert done.outcome is work.IntegrationOutcome.UNSAFE
    assert "known-secret" in {finding.rule for finding in done.findings}
    assert HELD_SECRET not in "".join(finding.model_dump_json() for finding in done.findings)
    assert lab.tip() == ""
