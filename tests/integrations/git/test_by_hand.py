"""Whose change of a protected path it is."""

import pytest

from domain import errors, work
from integrations.git import by_hand, checks
from integrations.git.checks import Change, Commit, Range

RULES = checks.Rules()
PERSON, OTHER = "1" * 40, "2" * 40
CI, OWNERS = ".github/workflows/ci.yml", "CODEOWNERS"


def change(path: str, blob: str = "x", mode: int = 0o100644) -> Change:
    return Change(path, new_mode=mode, new_blob=blob)


def accepted(sha: str, *files: Change, by: str = "ann") -> work.AcceptedCommit:
    kept = tuple(work.ProtectedFile(path=each.path, mode=each.new_mode, blob=each.new_blob) for each in files)
    return work.AcceptedCommit(sha=sha, by=by, files=kept)


def span(*commits: Commit) -> Range:
    return Range("b" * 40, commits[-1].sha, commits)


def commit(sha: str, *changes: Change) -> Commit:
    return Commit(sha, ("p" * 40,), "", (changes,))


@pytest.mark.parametrize(
    ("sha", "found", "covered"),
    [
        (PERSON, change(CI), True),
        (PERSON, change(OWNERS), False),  # their commit, but the agent had left this one uncommitted
        (OTHER, change(CI), True),
        (OTHER, change(CI, "y"), False),
        (OTHER, change(CI, mode=0o100755), False),
        (OTHER, change(CI, "", 0), False),
        (OTHER, change(OWNERS), False),
    ],
)
def test_a_persons_commit_and_what_equals_it_are_covered(sha: str, found: Change, covered: bool) -> None:
    assert by_hand.Accepted((accepted(PERSON, change(CI)),)).covers(sha, found) is covered


def test_a_removal_by_a_person_covers_a_removal() -> None:
    gone = by_hand.Accepted((accepted(PERSON, change(CI, "", 0)),))
    assert gone.covers(OTHER, change(CI, "", 0))
    assert not gone.covers(OTHER, change(CI))


def test_only_the_newest_content_covers_other_commits() -> None:
    both = by_hand.Accepted((accepted("a" * 40, change(CI, "old")), accepted(PERSON, change(CI, "new"))))
    assert both.covers("a" * 40, change(CI, "old"))
    assert not both.covers(OTHER, change(CI, "old"))
    assert both.covers(OTHER, change(CI, "new"))


def test_of_the_commit_of_leftovers_only_what_changed_in_the_persons_hands_is_theirs() -> None:
    found = span(commit(OTHER, change(CI)), commit(PERSON, change(OWNERS), change(".mcp.json"), change("a.txt")))
    [theirs] = by_hand.commits_of(
        found, RULES, by="ann", before={OTHER}, leftover=PERSON, changed_since={OWNERS, "a.txt"}
    )
    assert (theirs.sha, [each.path for each in theirs.files]) == (PERSON, [OWNERS])


def test_other_rules_hold_for_what_is_accepted() -> None:
    large = Change(CI, new_mode=0o100644, new_blob="x", size=RULES.limits.file_bytes + 1)
    with pytest.raises(errors.UnsafeWork, match="bytes, the limit"):
        checks.check(span(commit(PERSON, large)), RULES, lambda _sha, _change: True)
    checks.check(span(commit(PERSON, change(CI))), RULES, lambda _sha, _change: True)


def test_more_than_travels_with_a_run_is_refused() -> None:
    many = [change(f".github/workflows/{number}.yml") for number in range(by_hand.MOST_FILES + 1)]
    assert by_hand.commits_of(span(commit(PERSON, *many[1:])), RULES, by="ann", before=())
    with pytest.raises(errors.UnsafeWork, match=f"more than {by_hand.MOST_FILES} protected paths"):
        by_hand.commits_of(span(commit(PERSON, *many)), RULES, by="ann", before=())
