import os
import subprocess
from pathlib import Path

import pytest

from cli import checkout, failures


@pytest.fixture(autouse=True)
def _no_user_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:  # git sets some for the hooks that it runs
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Me")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "me@example.invalid")


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(where), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(where: Path, name: str) -> str:
    (where / name).write_text(name)
    git(where, "add", ".")
    git(where, "commit", "--quiet", "-m", name)
    return git(where, "rev-parse", "HEAD")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(path))
    commit(path, "first")
    return path


@pytest.fixture
def ahead(mine: Path, tmp_path: Path) -> tuple[Path, str]:
    """A bare copy with one commit more, and that commit."""
    work, bare = tmp_path / "work", tmp_path / "copy.git"
    git(tmp_path, "clone", "--quiet", str(mine), str(work))
    sha = commit(work, "second")
    checkout.keep_copy(str(work), bare)
    return bare, sha


def test_checkout_is_found_from_a_folder_below_it(mine: Path) -> None:
    (mine / "below").mkdir()
    found = checkout.Checkout.at(mine / "below")
    assert (found.path, found.branch, found.head_sha) == (mine, "main", git(mine, "rev-parse", "HEAD"))


def test_variables_of_a_hook_do_not_redirect_to_another_repository(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert checkout.Checkout.at(mine).path == mine


@pytest.mark.parametrize("missing", ["checkout", "commit", "branch"])
def test_what_cannot_be_worked_on_is_refused_in_words(mine: Path, tmp_path: Path, missing: str) -> None:
    where = mine
    if missing == "checkout":
        where = tmp_path
    elif missing == "commit":
        where = tmp_path / "empty"
        git(tmp_path, "init", "--quiet", str(where))
    else:
        git(mine, "checkout", "--quiet", "--detach")
    with pytest.raises(failures.Usage, match=f"no (git )?{missing}"):
        checkout.Checkout.at(where)


def test_fast_forward_moves_branch_and_files(mine: Path, ahead: tuple[Path, str]) -> None:
    checkout.Checkout.at(mine).fast_forward(ahead[0], "main", ahead[1])
    assert git(mine, "rev-parse", "main") == ahead[1]
    assert (mine / "second").read_text() == "second"


def test_uncommitted_change_is_never_overwritten(mine: Path, ahead: tuple[Path, str]) -> None:
    (mine / "first").write_text("edited")
    with pytest.raises(failures.Failed, match="uncommitted changes"):
        checkout.Checkout.at(mine).fast_forward(ahead[0], "main", ahead[1])
    assert (mine / "first").read_text() == "edited"


def test_untracked_file_in_the_way_stops_the_fast_forward(mine: Path, ahead: tuple[Path, str]) -> None:
    (mine / "second").write_text("mine, not committed")
    with pytest.raises(failures.Failed, match="git merge"):
        checkout.Checkout.at(mine).fast_forward(ahead[0], "main", ahead[1])
    assert (mine / "second").read_text() == "mine, not committed"


def test_diverged_checkout_is_left_alone_and_told_how_to_get_the_result(mine: Path, ahead: tuple[Path, str]) -> None:
    before = checkout.Checkout.at(mine)
    own = commit(mine, "other")
    with pytest.raises(failures.Failed, match=f"diverged.*{own[:9]}.*{ahead[1][:9]}.*fetch {ahead[0]} main"):
        before.fast_forward(ahead[0], "main", ahead[1])
    assert git(mine, "rev-parse", "main") == own


def test_other_branch_checked_out_meanwhile_is_left_alone(mine: Path, ahead: tuple[Path, str]) -> None:
    before = checkout.Checkout.at(mine)
    git(mine, "checkout", "--quiet", "-b", "topic")
    with pytest.raises(failures.Failed, match="is now on topic"):
        before.fast_forward(ahead[0], "main", ahead[1])


def test_declared_checks_are_read_from_the_commit_and_not_from_the_files(mine: Path) -> None:
    (mine / checkout.CI_FILE).write_text("{}")
    assert not checkout.Checkout.at(mine).declares_checks
    commit(mine, "declared")
    assert checkout.Checkout.at(mine).declares_checks
