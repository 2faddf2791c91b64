from pathlib import Path

import pytest

from domain import errors
from integrations.git import clones, names
from tests.integrations.git.lab import BRANCH, REPO, RUN, Lab, git, write


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_new_run_starts_at_the_tip_of_the_base(lab: Lab) -> None:
    made = await lab.prepare()
    assert (made.head_sha, made.base_sha, made.base_tip_sha) == (lab.first, lab.first, lab.first)
    assert not made.resumed_from_push
    assert git(lab.clone, "branch", "--show-current") == BRANCH
    assert git(lab.clone, "status", "--porcelain") == ""
    assert git(lab.clone, "rev-parse", "origin/main") == lab.first
    assert (lab.clone / "src" / "app.py").read_text() == "LIMIT = 1\n"


async def test_clone_has_an_identity_and_neither_remote_nor_credentials(lab: Lab) -> None:
    await lab.prepare()
    config = (lab.clone / ".git" / "config").read_text()
    assert 'name = "Fettle"' in config
    assert "remote" not in config
    assert lab.forge.clone_url(REPO) not in "".join(
        path.read_text(errors="replace") for path in (lab.clone / ".git").rglob("*") if path.is_file()
    )
    assert git(lab.clone, "remote") == ""


async def test_clone_shares_no_file_with_the_mirror(lab: Lab) -> None:
    """A hard-linked object would let the agent alter the mirror."""
    await lab.prepare()
    assert [path for path in lab.clone.rglob("*") if path.is_file() and path.stat().st_nlink > 1] == []


async def test_preparing_again_keeps_what_the_agent_left(lab: Lab) -> None:
    await lab.prepare()
    head = lab.commit({"a.txt": "a\n"})
    write(lab.clone, {"left.txt": "left\n", "build/cache": "x"})
    found = await lab.prepare()
    assert found.head_sha == head
    assert (lab.clone / "left.txt").read_text() == "left\n"
    assert (lab.clone / "build" / "cache").exists()


async def test_kept_clone_learns_of_the_moved_base(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    moved = lab.push({"other.txt": "o\n"})
    found = await lab.prepare()
    assert (found.base_sha, found.base_tip_sha) == (lab.first, moved)
    assert git(lab.clone, "merge", "--quiet", "--no-edit", moved) == ""  # its objects are there by way of the mirror
    assert (await lab.integrate()).files == ("a.txt",)


async def test_another_host_continues_from_the_pushed_branch(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    pushed = await lab.integrate()
    elsewhere = lab.host(tmp_path / "other-host")
    found = await lab.prepare(mirrors=elsewhere)
    assert found.resumed_from_push
    assert (found.head_sha, found.base_sha) == (pushed.head_sha, lab.first)
    assert (Path(found.path) / "a.txt").exists()


async def test_clone_that_another_host_overtook_is_built_anew(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    elsewhere = lab.host(tmp_path / "other-host")
    other = await lab.prepare(mirrors=elsewhere)
    write(Path(other.path), {"newer.txt": "n\n"})
    newer = await lab.integrate(mirrors=elsewhere)
    lab.commit({"stale.txt": "s\n"})
    found = await lab.prepare()
    assert found.resumed_from_push
    assert found.head_sha == newer.head_sha
    assert not (lab.clone / "stale.txt").exists()


async def test_start_afresh_ignores_the_pushed_branch_and_the_clone(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    await lab.integrate()
    write(lab.clone, {"left.txt": "left\n"})
    done_once = clones.RunClone.of(lab.state, RUN).created_note
    done_once.write_text("done in the former clone")
    fresh = await lab.prepare(start_fresh=True)
    assert not done_once.exists()
    assert fresh.head_sha == lab.first
    assert not (lab.clone / "left.txt").exists()
    assert not (lab.clone / "a.txt").exists()


async def test_merged_branch_is_no_beginning(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    done = await lab.integrate()
    git(lab.person, "fetch", "--quiet", "origin", BRANCH)
    git(lab.person, "merge", "--quiet", "--no-ff", "-m", "Merge", done.head_sha)
    tip = lab.push({"later.txt": "l\n"})
    clones.RunClone.of(lab.state, RUN).remove()
    found = await lab.prepare()
    assert (found.head_sha, found.resumed_from_push) == (tip, False)


async def test_branch_with_an_unrelated_history_is_no_beginning(lab: Lab) -> None:
    git(lab.person, "checkout", "--quiet", "--orphan", "other")
    lab.push({"o.txt": "o\n"}, branch=BRANCH)
    found = await lab.prepare()
    assert (found.head_sha, found.resumed_from_push) == (lab.first, False)


async def test_unfinished_clone_is_built_again(lab: Lab) -> None:
    """A worker may die between the move of the clone and its note."""
    await lab.prepare()
    (lab.clone.parent / "clone.json").unlink()
    (lab.clone.parent / "fresh-left").mkdir()
    (lab.clone / "README.md").unlink()
    await lab.prepare()
    assert (lab.clone / "README.md").exists()
    assert not (lab.clone.parent / "fresh-left").exists()


async def test_missing_base_branch_names_the_setting(lab: Lab) -> None:
    git(lab.bare, "branch", "-m", "main", "trunk")
    with pytest.raises(errors.ConfigurationError, match="no branch 'main'"):
        await lab.prepare()


async def test_submodules_stay_empty(lab: Lab, tmp_path: Path) -> None:
    git(lab.person, "clone", "--quiet", str(lab.bare), "lib")
    lab.push({".gitmodules": f'[submodule "lib"]\n\tpath = lib\n\turl = {lab.bare}\n'})
    await lab.prepare()
    assert list((lab.clone / "lib").iterdir()) == []
    write(lab.clone, {"a.txt": "a\n"})
    assert (await lab.integrate()).files == ("a.txt",)


async def test_state_of_a_run_stays_in_directories_named_after_it(lab: Lab) -> None:
    await lab.prepare()
    assert [path.name for path in (lab.state / "worktrees").iterdir()] == [names.run_slug(RUN)]
