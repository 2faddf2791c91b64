from pathlib import Path

import pytest

from domain import errors, work
from integrations.git import checks, clones, names
from tests.integrations.git.lab import BRANCH, HELD_SECRET, RUN, Lab, git, write

PUSHED = work.IntegrationOutcome.PUSHED
TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_commits_are_pushed_with_their_numbers_and_diff(lab: Lab) -> None:
    await lab.prepare()
    head = lab.commit({"src/app.py": "LIMIT = 2\nBURST = 3\n"})
    done = await lab.integrate()
    assert (done.outcome, done.head_sha, done.base_sha) == (PUSHED, head, lab.first)
    assert (done.files, done.added_lines, done.removed_lines) == (("src/app.py",), 2, 1)
    assert not done.auto_committed
    assert lab.tip() == head
    assert done.diff is not None
    assert b"+BURST = 3" in await lab.store.read(done.diff.key)


async def test_uncommitted_work_is_committed_on_top(lab: Lab) -> None:
    await lab.prepare()
    head = lab.commit({"a.txt": "a\n"})
    write(lab.clone, {"b.txt": "b\n", "build/out.o": "ignored\n", "src/app.py": "LIMIT = 9\n"})
    (lab.clone / "README.md").unlink()
    (lab.clone / "run.sh").write_text("#!/bin/sh\n")
    (lab.clone / "run.sh").chmod(0o755)
    done = await lab.integrate()
    assert done.auto_committed
    assert done.files == ("README.md", "a.txt", "b.txt", "run.sh", "src/app.py")
    assert git(lab.bare, "rev-parse", f"{done.head_sha}^") == head
    assert git(lab.bare, "show", "-s", "--format=%an|%cn|%s", done.head_sha) == "Fettle|Fettle|Leftover work"
    assert "100755" in git(lab.bare, "ls-tree", done.head_sha, "run.sh")


async def test_clone_goes_on_from_the_commit_that_was_made_for_it(lab: Lab) -> None:
    """The next turn's agent sees a clean tree at the pushed head, and its ignored files (installed packages) stay."""
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n", "build/cache": "kept\n"})
    first = await lab.integrate()
    assert git(lab.clone, "status", "--porcelain") == ""
    assert git(lab.clone, "rev-parse", "HEAD") == first.head_sha
    assert git(lab.clone, "branch", "--show-current") == BRANCH
    assert (lab.clone / "build" / "cache").exists()
    head = lab.commit({"b.txt": "b\n"})
    second = await lab.integrate(expected=first.head_sha)
    assert (second.head_sha, second.files, second.auto_committed) == (head, ("a.txt", "b.txt"), False)
    assert (await lab.prepare()).head_sha == head


async def test_file_that_became_a_directory_and_back_is_committed(lab: Lab) -> None:
    await lab.prepare()
    (lab.clone / "README.md").unlink()
    write(lab.clone, {"README.md/index.md": "# api\n"})
    (lab.clone / "src" / "app.py").unlink()
    (lab.clone / "src").rmdir()
    write(lab.clone, {"src": "a file\n"})
    done = await lab.integrate()
    assert done.files == ("README.md", "README.md/index.md", "src", "src/app.py")
    assert git(lab.bare, "ls-tree", "-r", "--name-only", done.head_sha).split() == [
        ".gitignore",
        "README.md/index.md",
        "src",
    ]


async def test_integrating_twice_pushes_once(lab: Lab) -> None:
    """The answer of the first attempt was lost: the second one gets the same commit, although the clock went on."""
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n"})
    first = await lab.integrate()
    second = await lab.integrate()
    assert second.head_sha == first.head_sha
    assert second.auto_committed
    assert second.outcome is PUSHED


async def test_attempt_that_died_before_the_push_gives_the_same_commit_again(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n"})
    hook = lab.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(errors.GitFailed):
        await lab.integrate()
    made = await lab.source.resolve(names.snapshot_ref(RUN))
    hook.unlink()
    assert (await lab.integrate()).head_sha == made


async def test_worker_that_died_while_it_renewed_the_clone_is_followed_up(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old `.git` is away, the new one not yet there: the retry must not take the clone for a damaged one."""
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n", "build/cache": "kept\n"})
    whole = clones.RunClone.finish_renewal
    monkeypatch.setattr(clones.RunClone, "finish_renewal", _DiesInTheSecondCall())
    with pytest.raises(_Killed):
        await lab.integrate()
    monkeypatch.setattr(clones.RunClone, "finish_renewal", whole)
    assert not (lab.clone / ".git").exists()
    done = await lab.integrate()
    assert done.outcome is PUSHED
    assert lab.tip() == done.head_sha == git(lab.clone, "rev-parse", "HEAD")
    assert (lab.clone / "build" / "cache").exists()


class _Killed(BaseException):
    """No clean-up of ours catches it."""


class _DiesInTheSecondCall:
    """The second call is the one that moves the new `.git` to its place."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 2:
            raise _Killed


async def test_nothing_done_is_no_change_and_pushes_nothing(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {"build/out.o": "ignored\n"})
    done = await lab.integrate()
    assert (done.outcome, done.head_sha) == (work.IntegrationOutcome.NO_CHANGES, lab.first)
    assert lab.tip() == ""


async def test_commits_that_cancel_out_are_no_change(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"src/app.py": "LIMIT = 2\n"})
    lab.commit({"src/app.py": "LIMIT = 1\n"})
    assert (await lab.integrate()).outcome is work.IntegrationOutcome.NO_CHANGES


async def test_branch_that_moved_on_the_forge_is_not_overwritten(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    first = await lab.integrate()
    theirs = lab.push({"theirs.txt": "t\n"}, branch=BRANCH)
    lab.commit({"b.txt": "b\n"})
    with pytest.raises(errors.RefMoved) as moved:
        await lab.integrate(expected=first.head_sha)
    assert first.head_sha in str(moved.value)
    assert theirs in str(moved.value)
    assert lab.tip() == theirs


async def test_start_afresh_replaces_the_branch_of_a_former_run(lab: Lab) -> None:
    """A stale branch on the forge once blocked every later push: the worktree knows what it left behind."""
    stale = lab.push({"stale.txt": "s\n"}, branch=BRANCH)
    git(lab.person, "reset", "--quiet", "--hard", lab.first)
    await lab.prepare(start_fresh=True)
    head = lab.commit({"a.txt": "a\n"})
    assert lab.tip() == stale
    assert (await lab.integrate(expected="")).files == ("a.txt",)
    assert lab.tip() == head


async def test_rewritten_commits_replace_those_that_were_pushed(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    first = await lab.integrate()
    git(lab.clone, "commit", "--quiet", "--amend", "-m", "Better words")
    second = await lab.integrate(expected=first.head_sha)
    assert lab.tip() == second.head_sha != first.head_sha


async def test_secret_in_an_earlier_commit_blocks_the_push(lab: Lab) -> None:
    """The last commit removes it, but whoever fetches the branch can read it."""
    await lab.prepare()
    bad = lab.commit({"conf/settings": f"a\nTOKEN={TOKEN}\n"})
    lab.commit({"conf/settings": "a\n"})
    done = await lab.integrate()
    assert done.outcome is work.IntegrationOutcome.UNSAFE
    assert [(f.rule, f.path, f.line, f.commit) for f in done.findings] == [("github-token", "conf/settings", 2, bad)]
    assert lab.tip() == ""
    assert done.diff is None
    assert TOKEN not in done.model_dump_json()


async def test_secret_of_this_process_in_an_uncommitted_file_blocks(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {"notes": f"the password is {HELD_SECRET}\n"})
    assert (await lab.integrate()).outcome is work.IntegrationOutcome.UNSAFE
    (lab.clone / "notes").unlink()
    write(lab.clone, {"a.txt": "a\n"})
    assert (await lab.integrate()).outcome is PUSHED


async def test_attributes_do_not_hide_a_file_from_the_scan(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({".gitattributes": "* -diff -text binary\n", "a.py": f'T = "{TOKEN}"\n'})
    assert (await lab.integrate()).outcome is work.IntegrationOutcome.UNSAFE


async def test_old_content_does_not_block_new_work(lab: Lab) -> None:
    """Neither an edit beside it, nor a rename, nor a merge of the base makes it this run's."""
    lab.push({"old.py": f'T = "{TOKEN}"\n'})
    await lab.prepare()
    lab.commit({"old.py": f'T = "{TOKEN}"\nX = 1\n'})
    git(lab.clone, "mv", "old.py", "new.py")
    lab.commit({"new.py": f'T = "{TOKEN}"\nX = 1\nY = 2\n'})
    moved = lab.push({"base.py": f'U = "{TOKEN}"\n'})
    await lab.prepare()
    git(lab.clone, "merge", "--quiet", "--no-edit", moved)
    done = await lab.integrate()
    assert done.outcome is PUSHED
    assert done.findings == ()
    assert done.files == ("new.py", "old.py")


async def test_secret_slipped_into_a_merge_commit_blocks(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    moved = lab.push({"b.txt": "b\n"})
    await lab.prepare()
    git(lab.clone, "merge", "--quiet", "--no-commit", moved)
    lab.commit({"b.txt": f"b\n{TOKEN}\n"})
    done = await lab.integrate()
    assert [(f.rule, f.path) for f in done.findings] == [("github-token", "b.txt")]


async def test_warnings_travel_with_the_pushed_work(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.py": "x = eval(y)\n"})
    done = await lab.integrate()
    assert done.outcome is PUSHED
    assert [(f.rule, f.level) for f in done.findings] == [("eval", work.FindingLevel.WARNS)]


async def test_protected_path_is_refused(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({".github/workflows/ci.yml": "on: push\n"})
    with pytest.raises(errors.UnsafeWork, match=r"\.github/workflows/ci\.yml"):
        await lab.integrate()
    assert lab.tip() == ""


@pytest.mark.parametrize("committed", [True, False])
async def test_no_run_changes_the_policy_that_later_runs_start_with(lab: Lab, committed: bool) -> None:
    await lab.prepare()
    files = {"ops/agents.md": "---\ngates: {verify_command: 'true'}\n---\n"}
    lab.commit(files) if committed else write(lab.clone, files)
    with pytest.raises(errors.UnsafeWork, match=r"changes 'ops/agents.md', which the policy protects"):
        await lab.integrate(policy_file="ops/agents.md")
    assert lab.tip() == ""


async def test_merging_the_base_takes_over_its_protected_changes(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    moved = lab.push({".github/workflows/ci.yml": "on: push\n"})
    await lab.prepare()
    git(lab.clone, "merge", "--quiet", "--no-edit", moved)
    assert (await lab.integrate()).files == ("a.txt",)


async def test_unrelated_history_is_refused(lab: Lab) -> None:
    await lab.prepare()
    git(lab.clone, "checkout", "--quiet", "--orphan", "new")
    lab.commit({"a.txt": "a\n"})
    with pytest.raises(errors.UnsafeWork, match="history of its own"):
        await lab.integrate()


async def test_unrelated_history_that_was_merged_is_refused(lab: Lab) -> None:
    await lab.prepare()
    git(lab.clone, "checkout", "--quiet", "--orphan", "new")
    other = lab.commit({"a.txt": "a\n"})
    git(lab.clone, "checkout", "--quiet", "--force", BRANCH)
    git(lab.clone, "merge", "--quiet", "--no-edit", "--allow-unrelated-histories", other)
    with pytest.raises(errors.UnsafeWork, match="history of its own"):
        await lab.integrate()


async def test_limits_stop_long_histories_large_files_and_many_files(lab: Lab) -> None:
    lab.rules = checks.Rules(limits=checks.Limits(commits=3, files=5, file_bytes=1000, total_bytes=2500))
    await lab.prepare()
    for at in range(4):
        lab.commit({"a.txt": f"{at}\n"})
    with pytest.raises(errors.UnsafeWork, match="more than 3 commits"):
        await lab.integrate()
    await lab.prepare(start_fresh=True)
    write(lab.clone, {f"n{at}.txt": "x" for at in range(6)})
    with pytest.raises(errors.UnsafeWork, match="more than 5 uncommitted files"):
        await lab.integrate()
    await lab.prepare(start_fresh=True)
    write(lab.clone, {"big.txt": "x" * 1001})
    with pytest.raises(errors.UnsafeWork, match=r"'big\.txt' has 1001 bytes"):
        await lab.integrate()
    await lab.prepare(start_fresh=True)
    lab.commit({f"m{at}.txt": str(at) * 900 for at in range(3)})
    with pytest.raises(errors.UnsafeWork, match="2700 bytes together"):
        await lab.integrate()


async def test_missing_clone_asks_for_a_preparation(lab: Lab) -> None:
    with pytest.raises(errors.GitFailed, match="prepare the worktree again"):
        await lab.integrate()


async def test_line_ends_follow_the_attributes(lab: Lab) -> None:
    """A file that is CRLF in the worktree and LF in the repository is not changed by being looked at."""
    lab.push({".gitattributes": "*.bat text eol=crlf\n", "x.bat": "echo 1\n"})
    await lab.prepare()
    assert b"\r\n" in (lab.clone / "x.bat").read_bytes()
    (lab.clone / "x.bat").touch()
    assert (await lab.integrate()).outcome is work.IntegrationOutcome.NO_CHANGES
