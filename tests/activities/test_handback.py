"""What a person changed while they had the worktree, in real repositories: theirs is accepted, the agent's is not."""

from pathlib import Path

import pytest

from domain import errors, work
from integrations.git import clones
from tests.integrations.git.lab import Lab, git, write

PUSHED = work.IntegrationOutcome.PUSHED
CI = ".github/workflows/ci.yml"
BY_HAND = {CI: "by: ann\n"}


@pytest.fixture
async def lab(tmp_path: Path) -> Lab:
    """A run whose agent has worked, at the moment before a person gets its worktree."""
    found = Lab(tmp_path)
    await found.prepare()
    found.commit({"a.txt": "by the agent\n"})
    write(found.clone, {"b.txt": "uncommitted\n"})
    return found


async def handed_back(lab: Lab, left: work.HandedOver) -> work.Integration:
    done = await lab.integrate(person="ann", handed_over=left)
    assert done.outcome is PUSHED
    return done


async def test_a_commit_of_the_person_may_change_protected_paths(lab: Lab) -> None:
    left = await lab.survey()
    sha = lab.commit(BY_HAND)
    done = await handed_back(lab, left)
    [accepted] = done.accepted
    assert (accepted.sha, accepted.by, [each.path for each in accepted.files]) == (sha, "ann", [CI])
    assert accepted.sentence() == f"ann changed protected paths in commit {sha[:9]}: {CI}"
    assert CI in done.files
    assert lab.tip() == done.head_sha


async def test_what_the_person_left_uncommitted_may_too(lab: Lab) -> None:
    left = await lab.survey()
    write(lab.clone, BY_HAND)
    done = await handed_back(lab, left)
    assert [each.sha for each in done.accepted] == [done.head_sha]
    assert {CI, "b.txt"} < set(done.files)


async def test_an_attempt_that_died_before_its_push_accepts_the_same_commit_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not take what the agent had left uncommitted for the person's, now that it is committed."""
    write(lab.clone, {".mcp.json": "{}"})
    left = await lab.survey()
    write(lab.clone, BY_HAND)
    for _ in range(2):
        with pytest.raises(errors.UnsafeWork, match=r"'\.mcp\.json', which the policy protects"):
            await lab.integrate(person="ann", handed_over=left)
    (lab.clone / ".mcp.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(clones.RunClone, "write_note", _die)
        with pytest.raises(errors.GitFailed, match="died"):
            await lab.integrate(person="ann", handed_over=left)
    pushed = lab.tip()
    done = await lab.integrate(person="ann", handed_over=left, expected=pushed)
    assert done.head_sha == pushed
    assert [each.sha for each in done.accepted] == [pushed]
    assert git(lab.clone, "rev-parse", "HEAD") == pushed
    again = await lab.integrate(person="ann", handed_over=left, expected=pushed)  # its answer was lost
    assert again.accepted == done.accepted


def _die(*_: object) -> None:
    raise errors.GitFailed("the worker died")


async def test_what_the_agent_had_left_stays_the_agents(lab: Lab) -> None:
    """In a commit below the person's, which they may keep without having read it."""
    lab.commit(BY_HAND, "By the agent")
    left = await lab.survey()
    lab.commit({"c.txt": "by ann\n"})
    with pytest.raises(errors.UnsafeWork, match=r"ci\.yml', which the policy protects"):
        await lab.integrate(person="ann", handed_over=left)


async def test_a_person_who_commits_what_the_agent_had_left_makes_it_theirs(lab: Lab) -> None:
    write(lab.clone, BY_HAND)
    left = await lab.survey()
    sha = lab.commit({})
    assert [each.sha for each in (await handed_back(lab, left)).accepted] == [sha]


@pytest.mark.parametrize("left", [None, work.HandedOver()])
async def test_without_a_note_of_what_the_agent_had_left_nothing_is_the_persons(
    lab: Lab, left: work.HandedOver | None
) -> None:
    lab.commit(BY_HAND)
    with pytest.raises(errors.UnsafeWork, match=r"ci\.yml', which the policy protects"):
        await lab.integrate(person="ann", handed_over=left)


async def test_other_rules_hold_for_the_person_too(lab: Lab) -> None:
    left = await lab.survey()
    (lab.clone / ".github").mkdir()
    (lab.clone / ".github" / "workflows").symlink_to("/etc")
    lab.commit({"x": "x"})
    with pytest.raises(errors.UnsafeWork, match="may lead out of the repository"):
        await lab.integrate(person="ann", handed_over=left)


async def test_the_agents_commits_on_top_may_change_no_protected_path(lab: Lab) -> None:
    done = await _by_hand(lab)
    lab.commit({"c.txt": "by the agent\n"})
    assert (await lab.integrate(expected=done.head_sha, accepted=done.accepted)).outcome is PUSHED
    for files in ({CI: "by: agent\n"}, {".github/workflows/more.yml": "x\n"}):
        lab.commit(files)
        with pytest.raises(errors.UnsafeWork, match="which the policy protects"):
            await lab.integrate(expected=done.head_sha, accepted=done.accepted)
        git(lab.clone, "reset", "--quiet", "--hard", "HEAD^")
    git(lab.clone, "rm", "--quiet", CI)
    git(lab.clone, "commit", "--quiet", "-m", "Undo")
    with pytest.raises(errors.UnsafeWork, match="which the policy protects"):
        await lab.integrate(expected=done.head_sha, accepted=done.accepted)


async def test_an_agent_that_amends_the_persons_commit_keeps_its_protected_files_or_is_refused(lab: Lab) -> None:
    """The commit that was accepted is no longer in the range then."""
    done = await _by_hand(lab)
    write(lab.clone, {"c.txt": "by the agent\n"})
    git(lab.clone, "add", "--all")
    git(lab.clone, "commit", "--quiet", "--amend", "-m", "Amended")
    amended = await lab.integrate(expected=done.head_sha, accepted=done.accepted)
    assert amended.outcome is PUSHED
    assert git(lab.bare, "show", f"{amended.head_sha}:{CI}") == "by: ann"
    write(lab.clone, {CI: "by: agent\n"})
    git(lab.clone, "add", "--all")
    git(lab.clone, "commit", "--quiet", "--amend", "-m", "Amended again")
    with pytest.raises(errors.UnsafeWork, match=r"ci\.yml', which the policy protects"):
        await lab.integrate(expected=amended.head_sha, accepted=done.accepted)
    assert lab.tip() == amended.head_sha


async def test_an_agent_cannot_go_back_to_what_a_person_has_changed_again(lab: Lab) -> None:
    first = await _by_hand(lab)
    left = await lab.survey()
    lab.commit({CI: "by: bob\n"})
    second = await lab.integrate(expected=first.head_sha, person="bob", handed_over=left, accepted=first.accepted)
    assert [each.by for each in second.accepted] == ["bob"]
    lab.commit(BY_HAND)
    with pytest.raises(errors.UnsafeWork, match=r"ci\.yml', which the policy protects"):
        await lab.integrate(expected=second.head_sha, accepted=(*first.accepted, *second.accepted))


async def test_a_secret_of_the_persons_is_blocked_and_their_protected_files_stay_accepted(lab: Lab) -> None:
    """The agent takes the secret out by a rewrite, and may keep the rest of what the person did."""
    left = await lab.survey()
    lab.commit(BY_HAND | {"c.txt": "ghp_" + "a1B2" * 9})
    found = await lab.integrate(person="ann", handed_over=left)
    assert found.outcome is work.IntegrationOutcome.UNSAFE
    write(lab.clone, {"c.txt": "no secret\n"})
    git(lab.clone, "add", "--all")
    git(lab.clone, "commit", "--quiet", "--amend", "-m", "Without it")
    assert (await lab.integrate(accepted=found.accepted)).outcome is PUSHED


async def _by_hand(lab: Lab) -> work.Integration:
    left = await lab.survey()
    lab.commit(BY_HAND)
    return await handed_back(lab, left)
