"""Unfinished work travels between hosts, and only the host that holds a run can publish anything of it."""

from pathlib import Path

import pytest

from activities import turn_wip
from domain import errors, redaction, work
from integrations.git import clones, mirror, names
from tests.integrations.git.lab import BRANCH, HELD_SECRET, REPO, RUN, Lab, git, write

REF = names.wip_ref(RUN)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def _keeper(lab: Lab, mirrors: mirror.Mirrors | None = None) -> turn_wip.WorkInProgress:
    return turn_wip.WorkInProgress(
        lab.forge,  # type: ignore[arg-type]  # the two methods it uses
        mirrors or lab.mirrors,
        redaction.Redactor(frozenset({HELD_SECRET})),
        rules=lab.rules,
    )


def _ref(lab: Lab) -> str:
    return git(lab.bare, "rev-parse", "--verify", "--quiet", REF, check=False)


def _refuse_all_but_branches(lab: Lab) -> None:
    hook = lab.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase "$1" in refs/heads/*) ;; *) echo "only branches here" >&2; exit 1 ;; esac\n')
    hook.chmod(0o755)


async def test_another_host_gets_commits_and_uncommitted_files_as_they_were(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    head = lab.commit({"a.txt": "a\n", "gone.txt": "g\n"})
    write(lab.clone, {"a.txt": "changed\n", "new/untracked.txt": "u\n", "build/cache": "ignored\n"})
    (lab.clone / "gone.txt").unlink()
    kept = await _keeper(lab).save(RUN, 3)
    assert (kept.sha, kept.why_not) == (_ref(lab), "")
    elsewhere = lab.host(tmp_path / "other-host")
    found = await lab.prepare(mirrors=elsewhere)
    there = Path(found.path)
    assert (found.head_sha, found.resumed_from_wip, found.base_sha) == (head, True, lab.first)
    assert git(there, "status", "--short") == " M a.txt\n D gone.txt\n?? new/".strip()
    assert (there / "a.txt").read_text() == "changed\n"
    assert not (there / "build").exists()
    assert git(there, "branch", "--show-current") == BRANCH
    assert (await lab.integrate(mirrors=elsewhere)).files == ("a.txt", "new/untracked.txt")


async def test_work_in_progress_is_no_branch_and_no_tag(lab: Lab) -> None:
    """CI, pull requests and lists of branches look at those."""
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    await _keeper(lab).save(RUN, 1)
    assert git(lab.bare, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags") == "refs/heads/main"
    assert _ref(lab)


async def test_the_same_files_are_pushed_once(lab: Lab) -> None:
    await lab.prepare()
    claimed = _ref(lab)
    assert (await _keeper(lab).save(RUN, 1)).sha == claimed  # nothing was done since the worktree was made
    write(lab.clone, {"a.txt": "a\n"})
    first = await _keeper(lab).save(RUN, 1)
    assert first.sha != claimed
    assert (await _keeper(lab).save(RUN, 2)).sha == first.sha == _ref(lab)


@pytest.mark.parametrize("how", ["uncommitted", "committed", "reverted"])
async def test_what_the_scan_blocks_stays_on_the_host_and_the_turn_says_so(lab: Lab, how: str) -> None:
    await lab.prepare()
    before = _ref(lab)
    write(lab.clone, {"settings.py": f'TOKEN = "{HELD_SECRET}"\n'})
    if how != "uncommitted":
        lab.commit({"b.txt": "b\n"})
    if how == "reverted":
        git(lab.clone, "revert", "--no-edit", "HEAD")
    kept = await _keeper(lab).save(RUN, 1)
    assert "the safety scan blocks it" in kept.why_not
    assert HELD_SECRET not in kept.why_not
    assert _ref(lab) == before
    objects = git(lab.bare, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").splitlines()
    blobs = [line.split()[0] for line in objects if line.endswith("blob")]
    assert not any(HELD_SECRET in git(lab.bare, "cat-file", "blob", blob) for blob in blobs)


async def test_a_commit_that_breaks_a_rule_stays_on_the_host(lab: Lab) -> None:
    await lab.prepare()
    before = _ref(lab)
    lab.commit({".github/workflows/x.yml": "on: push\n"})
    kept = await _keeper(lab).save(RUN, 1)
    assert "the policy protects" in kept.why_not
    assert _ref(lab) == before


async def test_a_host_that_was_overtaken_publishes_nothing_any_more(lab: Lab, tmp_path: Path) -> None:
    """It may come back from a partition in the middle of its turn, or of its push."""
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    await _keeper(lab).save(RUN, 1)
    elsewhere = lab.host(tmp_path / "other-host")
    await lab.prepare(mirrors=elsewhere)
    taken = _ref(lab)
    lab.commit({"late.txt": "late\n"})
    with pytest.raises(errors.LeaseLost, match="another host has taken the run over"):
        await _keeper(lab).save(RUN, 1)
    with pytest.raises(errors.LeaseLost):
        await lab.integrate()
    assert _ref(lab) == taken
    assert lab.tip() == ""
    assert (await lab.integrate(mirrors=elsewhere)).files == ("a.txt",)


async def test_an_overtaken_host_that_gets_the_run_back_takes_the_others_work(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    elsewhere = lab.host(tmp_path / "other-host")
    there = Path((await lab.prepare(mirrors=elsewhere)).path)
    write(there, {"newer.txt": "n\n"})
    await _keeper(lab, elsewhere).save(RUN, 2)
    write(lab.clone, {"stale.txt": "s\n"})
    found = await lab.prepare()
    assert found.resumed_from_wip
    assert (lab.clone / "newer.txt").exists()
    assert not (lab.clone / "stale.txt").exists()
    write(there, {"late.txt": "l\n"})
    with pytest.raises(errors.LeaseLost):
        await _keeper(lab, elsewhere).save(RUN, 2)


async def test_a_push_whose_note_was_lost_is_still_this_hosts(lab: Lab) -> None:
    await lab.prepare()
    clone = clones.RunClone.of(lab.state, RUN)
    before = clone.read_note()
    assert before is not None
    write(lab.clone, {"a.txt": "a\n"})
    await _keeper(lab).save(RUN, 1)
    clone.write_note(before)  # as a worker leaves it that dies right after the push
    write(lab.clone, {"b.txt": "b\n"})
    assert (await _keeper(lab).save(RUN, 1)).sha == _ref(lab)
    clone.write_note(before)
    assert (lab.clone / "b.txt").exists()
    assert not (await lab.prepare()).resumed_from_wip  # the clone was kept
    clone.write_note(before)
    assert (await lab.integrate()).files == ("a.txt", "b.txt")


async def test_integration_replaces_the_work_in_progress_by_the_branch_in_one_step(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    await _keeper(lab).save(RUN, 1)
    done = await lab.integrate()
    assert (lab.tip(), _ref(lab)) == (done.head_sha, "")
    assert await lab.source.resolve(REF) == ""
    write(lab.clone, {"repair.txt": "r\n"})
    kept = await _keeper(lab).save(RUN, 2)
    assert kept.sha == _ref(lab)
    again = await lab.integrate(expected=done.head_sha)
    assert (lab.tip(), _ref(lab)) == (again.head_sha, "")


async def test_work_after_a_push_is_found_on_top_of_it(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    pushed = await lab.integrate()
    write(lab.clone, {"repair.txt": "r\n"})
    await _keeper(lab).save(RUN, 2)
    elsewhere = lab.host(tmp_path / "other-host")
    found = await lab.prepare(mirrors=elsewhere)
    assert (found.head_sha, found.resumed_from_wip) == (pushed.head_sha, True)
    assert (Path(found.path) / "repair.txt").exists()


async def test_a_branch_that_a_person_moved_is_newer_than_the_work_in_progress(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n"})
    await _keeper(lab).save(RUN, 1)
    theirs = lab.push({"person.txt": "p\n"}, branch=BRANCH)
    found = await lab.prepare(mirrors=lab.host(tmp_path / "other-host"))
    assert (found.head_sha, found.resumed_from_wip) == (theirs, False)


async def test_start_afresh_leaves_the_work_in_progress_behind(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {"a.txt": "a\n"})
    await _keeper(lab).save(RUN, 1)
    found = await lab.prepare(start_fresh=True)
    assert (found.head_sha, found.resumed_from_wip) == (lab.first, False)
    assert not (lab.clone / "a.txt").exists()


async def test_a_ref_that_others_wrote_is_no_work_of_ours(lab: Lab) -> None:
    """Anybody who may push can write there; what they wrote is replaced."""
    git(lab.person, "push", "--quiet", "origin", f"HEAD:{REF}")
    found = await lab.prepare()
    assert (found.head_sha, found.resumed_from_wip) == (lab.first, False)
    write(lab.clone, {"a.txt": "a\n"})
    assert (await _keeper(lab).save(RUN, 1)).sha == _ref(lab)


async def test_a_forge_that_takes_branches_only_is_worked_with_as_before(lab: Lab) -> None:
    _refuse_all_but_branches(lab)
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    kept = await _keeper(lab).save(RUN, 1)
    assert kept.sha == ""
    assert "could not be pushed" in kept.why_not
    assert (await lab.prepare()).head_sha
    assert (await lab.integrate()).outcome is work.IntegrationOutcome.PUSHED


async def test_a_clone_of_an_older_release_is_kept_and_learns_its_base(lab: Lab) -> None:
    await lab.prepare()
    git(lab.bare, "update-ref", "-d", REF)
    clone = clones.RunClone.of(lab.state, RUN)
    clone.write_note(clones.Note(repo=REPO, branch=BRANCH))
    write(lab.clone, {"a.txt": "a\n"})
    assert "older release" in (await _keeper(lab).save(RUN, 1)).why_not
    await lab.prepare()
    assert (lab.clone / "a.txt").exists()
    assert (await _keeper(lab).save(RUN, 1)).sha == _ref(lab)


async def test_a_persons_protected_files_travel_with_the_work_that_follows(lab: Lab) -> None:
    """Else every push after a handback is refused, and a lost host loses what the agent did since."""
    await lab.prepare()
    left = await lab.survey()
    write(lab.clone, {"CODEOWNERS": "* @ann\n"})
    done = await lab.integrate(person="ann", handed_over=left)
    assert done.accepted, "the rule that this test needs does not hold"
    write(lab.clone, {"b.txt": "after the handback\n"})
    kept = await _keeper(lab).save(RUN, 4)
    assert (kept.sha, kept.why_not) == (_ref(lab), "")
    write(lab.clone, {"CODEOWNERS": "* @agent\n"})
    assert "protects" in (await _keeper(lab).save(RUN, 5)).why_not


async def test_a_persons_protected_files_travel_from_the_host_that_goes_on(lab: Lab, tmp_path: Path) -> None:
    """Which has not integrated anything of this run; else a second lost host loses all that was done on it."""
    await lab.prepare()
    left = await lab.survey()
    write(lab.clone, {"CODEOWNERS": "* @ann\n"})
    done = await lab.integrate(person="ann", handed_over=left)
    elsewhere = lab.host(tmp_path / "other-host")
    for _ in range(2):  # built anew, then found as it is
        there = Path((await lab.prepare(mirrors=elsewhere, accepted=done.accepted)).path)
        write(there, {"b.txt": "after the move\n"})
        kept = await _keeper(lab, elsewhere).save(RUN, 4)
        assert (kept.sha, kept.why_not) == (_ref(lab), "")
    write(there, {"CODEOWNERS": "* @agent\n"})
    assert "protects" in (await _keeper(lab, elsewhere).save(RUN, 5)).why_not


async def test_a_kept_clone_learns_what_a_person_had_done_in_an_earlier_run(lab: Lab) -> None:
    await lab.prepare()
    left = await lab.survey()
    write(lab.clone, {"CODEOWNERS": "* @ann\n"})
    done = await lab.integrate(person="ann", handed_over=left)
    clone = clones.RunClone.of(lab.state, RUN)
    note = clone.read_note()
    assert note is not None
    clone.write_note(note.model_copy(update={"accepted": ()}))
    write(lab.clone, {"b.txt": "b\n"})
    assert "protects" in (await _keeper(lab).save(RUN, 5)).why_not
    await lab.prepare(accepted=done.accepted)
    assert (await _keeper(lab).save(RUN, 5)).why_not == ""


@pytest.mark.parametrize("how", ["blocked", "reverted"])
async def test_a_persons_protected_files_travel_where_their_handback_pushed_nothing(lab: Lab, how: str) -> None:
    await lab.prepare()
    left = await lab.survey()
    lab.commit({"CODEOWNERS": "* @ann\n"})
    if how == "reverted":
        git(lab.clone, "revert", "--no-edit", "HEAD")
    else:
        write(lab.clone, {"settings.py": f'TOKEN = "{HELD_SECRET}"\n'})
    done = await lab.integrate(person="ann", handed_over=left)
    assert done.outcome is not work.IntegrationOutcome.PUSHED
    assert done.accepted
    (lab.clone / "settings.py").unlink(missing_ok=True)
    write(lab.clone, {"b.txt": "after the handback\n"})
    kept = await _keeper(lab).save(RUN, 4)
    assert (kept.sha, kept.why_not) == (_ref(lab), "")
