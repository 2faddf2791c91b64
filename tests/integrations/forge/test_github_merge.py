"""A head is merged once: a merge that was made is found, and another head is never merged."""

import pytest

from domain import errors, forge, policy

HEAD = "a" * 40
MERGED = "c" * 40


async def _merge(client, repo, method=policy.MergeMethod.MERGE):
    return await client.merge(repo.pull(5), head_sha=HEAD, method=method, title="Fix it (#5)")


@pytest.mark.parametrize("method", list(policy.MergeMethod))
async def test_exactly_the_named_head_is_merged(script, github_client, repo, pull_json, method):
    script.reply(200, pull_json())
    script.reply(200, {"sha": MERGED, "merged": True, "message": "done"})
    assert await _merge(github_client, repo, method) == forge.Merge(sha=MERGED)
    sent = script.asked[-1].body
    assert (sent["sha"], sent["merge_method"]) == (HEAD, method.value)
    assert ("commit_title" in sent) is (method is not policy.MergeMethod.REBASE)


async def test_a_merge_that_was_made_is_reported_and_not_repeated(script, github_client, repo, pull_json):
    script.reply(200, pull_json(merged=True, state="closed", merge_commit_sha=MERGED))
    assert await _merge(github_client, repo) == forge.Merge(sha=MERGED, already_made=True)
    assert {request.method for request in script.asked} == {"GET"}


async def test_a_made_merge_is_found_in_the_events_without_the_field_that_github_drops(
    script, github_client, repo, pull_json
):
    gone = pull_json(merged=True, state="closed")
    del gone["merge_commit_sha"]
    script.reply(200, gone)
    script.reply(200, [{"event": "labeled", "commit_id": None}, {"event": "merged", "commit_id": MERGED}])
    assert await _merge(github_client, repo) == forge.Merge(sha=MERGED, already_made=True)


@pytest.mark.parametrize("parents", [["b" * 40, HEAD], ["e" * 40, "f" * 40, HEAD]])
async def test_a_made_merge_is_found_on_the_base_branch_by_its_parent(script, github_client, repo, pull_json, parents):
    script.reply(200, pull_json(merged=True, state="closed"))
    script.reply(200, [])
    child_of_head = {"sha": "9" * 40, "parents": [{"sha": HEAD}]}
    merge = {"sha": MERGED, "parents": [{"sha": sha} for sha in parents]}
    script.reply(200, [child_of_head, merge])
    assert await _merge(github_client, repo) == forge.Merge(sha=MERGED, already_made=True)


async def test_a_made_merge_that_nothing_names_yet_is_asked_for_again(script, github_client, repo, pull_json):
    script.reply(200, pull_json(merged=True, state="closed"))
    script.reply(200, [])
    script.reply(200, [])
    with pytest.raises(errors.ForgeUnavailable, match="acme/api#5 is merged"):
        await _merge(github_client, repo)


async def test_another_head_is_never_merged(script, github_client, repo, pull_json):
    script.reply(200, pull_json(head=pull_json()["head"] | {"sha": "d" * 40}))
    with pytest.raises(errors.HeadMoved, match="look at the new head") as caught:
        await _merge(github_client, repo)
    assert (caught.value.expected_sha, caught.value.found_sha) == (HEAD, "d" * 40)
    assert len(script.asked) == 1


async def test_a_head_that_moves_under_the_merge_is_named(script, github_client, repo, pull_json):
    script.reply(200, pull_json())
    script.reply(409, {"message": "Head branch was modified. Review and try the merge again."})
    script.reply(200, pull_json(head=pull_json()["head"] | {"sha": "d" * 40}))
    with pytest.raises(errors.HeadMoved) as caught:
        await _merge(github_client, repo)
    assert caught.value.found_sha == "d" * 40


async def test_a_409_at_the_same_head_is_still_a_moved_head(script, github_client, repo, pull_json):
    script.reply(200, pull_json())
    script.reply(409, {"message": "Head branch was modified. Review and try the merge again."})
    script.reply(200, pull_json())
    with pytest.raises(errors.HeadMoved):
        await _merge(github_client, repo)


async def test_a_lost_merge_that_ends_while_we_try_again_is_found(script, github_client, repo, pull_json):
    script.reply(200, pull_json())
    script.reply(405, {"message": "Pull Request is not mergeable"})
    script.reply(200, pull_json(merged=True, state="closed", merge_commit_sha=MERGED))
    assert await _merge(github_client, repo) == forge.Merge(sha=MERGED, already_made=True)


async def test_a_protection_that_is_not_met_is_not_mergeable(script, github_client, repo, pull_json):
    script.reply(200, pull_json())
    script.reply(405, {"message": "At least 1 approving review is required"})
    script.reply(200, pull_json())
    with pytest.raises(errors.NotMergeable, match=r"merge acme/api#5 at a+.*approving review is required"):
        await _merge(github_client, repo)


@pytest.mark.parametrize(("changes", "state"), [({"state": "closed"}, "closed"), ({"draft": True}, "a draft")])
async def test_a_closed_or_draft_pull_request_is_not_merged(script, github_client, repo, pull_json, changes, state):
    script.reply(200, pull_json(**changes))
    with pytest.raises(errors.NotMergeable, match=f"this one is {state}"):
        await _merge(github_client, repo)
    assert len(script.asked) == 1


async def test_a_merge_whose_answer_is_lost_is_unknown(script, github_client, repo, pull_json):
    script.reply(200, pull_json())
    script.reply(502, {"message": "Server Error"})
    with pytest.raises(errors.ForgeUnavailable, match="unknown: look it up"):
        await _merge(github_client, repo)
