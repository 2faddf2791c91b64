"""A pull request is opened once for its branch, and a review is posted once for its head."""

import pytest

from domain import errors, forge

HEAD = "a" * 40
ME = {"login": "fettle-bot"}


def comment(number: int, body: str, login: str = "fettle-bot", **rest: object) -> dict[str, object]:
    return {"id": number, "body": body, "user": {"login": login}, **rest}


def marked(text: str, key: str = "status") -> str:
    return f"<!-- fettle:{key} -->\n{text}"


async def test_a_pull_request_from_a_fork_is_not_ours(script, github_client, repo, pull_json):
    head = pull_json()["head"]
    script.reply(200, [pull_json(head=head | {"repo": {"id": 2}}), pull_json(head=head | {"repo": None})])
    assert await github_client.find_pull_request(repo, head_branch=head["ref"]) is None


async def test_the_open_pull_request_is_preferred_to_the_newest(script, github_client, repo, pull_json):
    script.reply(200, [pull_json(number=9, state="closed"), pull_json(number=5), pull_json(number=2, state="closed")])
    script.reply(200, pull_json())
    found = await github_client.find_pull_request(repo, head_branch="fettle/issue-7-fix-it")
    assert found is not None
    assert found.ref == repo.pull(5)
    assert "head=acme%3Afettle%2Fissue-7-fix-it" in script.asked[0].path
    assert "state=all" in script.asked[0].path


async def _open(client, repo, **changes):
    wanted = {"head_branch": "fettle/issue-7-fix-it", "base_branch": "main", "title": "Fix it", "body": "Because."}
    return await client.open_pull_request(repo, **(wanted | {"draft": True} | changes))


async def test_a_pull_request_that_the_list_did_not_show_yet_is_found_after_the_refusal(
    script, github_client, repo, pull_json
):
    script.reply(200, [])
    script.reply(422, {"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]})
    script.reply(200, [pull_json()])
    script.reply(200, pull_json())
    assert (await _open(github_client, repo)).ref == repo.pull(5)
    assert sum(request.method == "POST" for request in script.asked) == 1


async def test_a_refusal_without_a_pull_request_is_an_error(script, github_client, repo):
    script.reply(200, [])
    script.reply(422, {"message": "Validation Failed", "errors": [{"message": "No commits between main and x"}]})
    script.reply(200, [])
    with pytest.raises(errors.InvalidRequest, match=r"fettle/issue-7-fix-it into main of acme/api.*No commits"):
        await _open(github_client, repo)


async def test_a_closed_pull_request_is_not_reused(script, github_client, repo, pull_json):
    script.reply(200, [pull_json(state="closed")])
    script.reply(200, pull_json(state="closed"))
    script.reply(201, pull_json(number=6, draft=True))
    assert (await _open(github_client, repo)).ref == repo.pull(6)


async def test_title_and_body_of_an_open_pull_request_are_brought_up_to_date(script, github_client, repo, pull_json):
    script.reply(200, [pull_json()])
    script.reply(200, pull_json())
    script.reply(200, pull_json(title="Fix it well"))
    assert (await _open(github_client, repo, title="Fix it well")).title == "Fix it well"
    assert script.asked[-1].body == {"title": "Fix it well"}


async def test_a_plan_without_drafts_gets_an_ordinary_pull_request(script, github_client, repo, pull_json):
    script.reply(200, [])
    script.reply(422, {"message": "Draft pull requests are not supported in this repository."})
    script.reply(201, pull_json(draft=False))
    assert not (await _open(github_client, repo)).draft
    assert script.asked[-1].body["draft"] is False


async def test_a_ready_pull_request_is_not_marked_again(script, github_client, repo, pull_json):
    script.reply(200, pull_json(draft=False))
    await github_client.mark_ready(forge.PullRequest(ref=repo.pull(5), draft=True))
    assert len(script.asked) == 1


async def _review(client, repo, event=forge.ReviewEvent.COMMENT):
    await client.review(repo.pull(5), key="review:1", head_sha=HEAD, event=event, body="Looks right.")


async def test_a_review_of_this_head_is_not_posted_twice(script, github_client, repo):
    script.reply(200, [comment(1, marked("Looks right.", "review:1"), commit_id=HEAD)])
    script.reply(200, ME)
    await _review(github_client, repo)
    assert {request.method for request in script.asked} == {"GET"}


async def test_a_review_of_another_head_or_by_another_author_is_not_this_one(script, github_client, repo):
    text = marked("Looks right.", "review:1")
    script.reply(200, [comment(1, text, commit_id="b" * 40), comment(2, text, "mallory", commit_id=HEAD)])
    script.reply(200, ME)
    script.reply(200, comment(3, text))
    await _review(github_client, repo)
    assert script.asked[-1].body["commit_id"] == HEAD


async def test_a_verdict_on_our_own_pull_request_is_a_comment(script, github_client, repo, pull_json):
    script.reply(200, [])
    script.reply(200, pull_json())
    script.reply(200, ME)
    script.reply(200, comment(3, "x"))
    await _review(github_client, repo, forge.ReviewEvent.APPROVE)
    assert script.asked[-1].body["event"] == "COMMENT"


async def test_a_verdict_on_somebody_elses_pull_request_stays_a_verdict(script, github_client, repo, pull_json):
    script.reply(200, [])
    script.reply(200, pull_json(user={"login": "ada"}))
    script.reply(200, ME)
    script.reply(200, comment(3, "x"))
    await _review(github_client, repo, forge.ReviewEvent.REQUEST_CHANGES)
    assert script.asked[-1].body["event"] == "REQUEST_CHANGES"


async def test_a_review_of_a_head_that_was_force_pushed_away_says_so(script, github_client, repo, pull_json):
    script.reply(200, [])
    script.reply(422, {"message": "Unprocessable Entity"})
    script.reply(200, pull_json(head=pull_json()["head"] | {"sha": "d" * 40}))
    with pytest.raises(errors.HeadMoved) as caught:
        await _review(github_client, repo)
    assert (caught.value.expected_sha, caught.value.found_sha) == (HEAD, "d" * 40)
