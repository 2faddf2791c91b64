"""A forge on a bad day: an effect whose answer is lost happens once, and every refusal says when to come back."""

import contextlib
import json
from datetime import timedelta

import pytest

from domain import errors, events, forge, policy, refs
from integrations.forge import connect, github_events, port

BRANCH = "fettle/issue-1-mend-it"
LOST = "commit_then_502"


def _pull(client, work):
    return client.open_pull_request(
        work.repo, head_branch=BRANCH, base_branch="main", title="Mend it", body="Because.", draft=False
    )


async def _twice(effect):
    """The first answer is lost; the caller does what it would do in production: the same again."""
    with pytest.raises(errors.ForgeUnavailable, match="502"):
        await effect()
    return await effect()


async def test_a_comment_whose_answer_is_lost_is_posted_once(peer, work, client):
    issue = peer.issue(work.repo, "It is broken", [])
    await client.whoami()
    peer.fault(LOST, method="POST", path=f"{work.repo}/issues/1/comments")
    said = await _twice(lambda: client.say(issue, key="status", body="Working on it."))
    comments = peer.owner.get(f"/repos/{work.repo}/issues/1/comments").json()
    assert [comment["id"] for comment in comments] == [said.id]


async def test_a_pull_request_whose_answer_is_lost_is_opened_once(peer, work, bot):
    work.push(BRANCH, {"src/app.py": "a = 2\n"})
    peer.fault(LOST, method="POST", path=f"{work.repo}/pulls")
    pull = await _twice(lambda: _pull(bot, work))
    listed = peer.owner.get(f"/repos/{work.repo}/pulls", params={"state": "all"}).json()
    assert [found["number"] for found in listed] == [pull.ref.number]


@pytest.mark.parametrize("method", list(policy.MergeMethod))
async def test_a_merge_whose_answer_is_lost_is_found_and_not_repeated(peer, work, bot, method):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await _pull(bot, work)
    peer.fault(LOST, method="PUT", path=f"{work.repo}/pulls/1/merge")
    made = await _twice(lambda: bot.merge(pull.ref, head_sha=head, method=method, title="Mend it (#1)"))
    assert made == forge.Merge(sha=work.pull("main"), already_made=True)
    assert len([line for line in peer.writes() if line.endswith(f"{work.repo}/pulls/1/merge")]) == 1


async def test_a_review_whose_answer_is_lost_is_posted_once(peer, work, bot):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await _pull(bot, work)
    peer.fault(LOST, method="POST", path=f"{work.repo}/pulls/1/reviews")
    await _twice(
        lambda: bot.review(pull.ref, key="r1", head_sha=head, event=forge.ReviewEvent.COMMENT, body="Looks right.")
    )
    reviews = peer.owner.get(f"/repos/{work.repo}/pulls/1/reviews").json()
    assert [review["commit_id"] for review in reviews] == [head]


async def test_readiness_whose_answer_is_lost_is_not_asked_for_again(peer, work, bot):
    work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await bot.open_pull_request(
        work.repo, head_branch=BRANCH, base_branch="main", title="Mend it", body="", draft=True
    )
    peer.fault(LOST, method="POST", path="graphql")
    await _twice(lambda: bot.mark_ready(pull))
    assert not (await bot.pull_request(pull.ref)).draft


async def test_labels_and_branches_whose_answer_is_lost_end_as_asked(peer, work, bot):
    issue = peer.issue(work.repo, "It is broken", ["fettle"])
    sha = work.git("rev-parse", "main")
    peer.fault(LOST, method="POST|DELETE", path=f"{work.repo}/issues/1/labels", count=2)
    for _ in range(2):
        with pytest.raises(errors.ForgeUnavailable):
            await bot.swap_labels(issue, add=["done"], remove=["fettle"])
    await bot.swap_labels(issue, add=["done"], remove=["fettle"])
    assert (await bot.issue(issue)).labels == ("done",)
    peer.fault(LOST, method="POST", path=f"{work.repo}/labels")
    await _twice(lambda: bot.ensure_labels(work.repo, [port.Label("new", "ffffff")]))
    peer.fault(LOST, method="POST", path=f"{work.repo}/git/refs")
    await _twice(lambda: bot.put_branch(work.repo, "fettle/queue/main/1", sha))
    peer.fault(LOST, method="DELETE", path=f"{work.repo}/git/refs")
    await _twice(lambda: bot.delete_branch(work.repo, "fettle/queue/main/1"))
    assert await bot.branch_sha(work.repo, "fettle/queue/main/1") is None


async def test_a_candidate_whose_answer_is_lost_is_merged_once(peer, work, bot):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    tip = work.push("main", {"other.txt": "elsewhere\n"})
    await bot.put_branch(work.repo, "fettle/queue/main/1", tip)
    peer.fault(LOST, method="POST", path=f"{work.repo}/merges")
    merged = await _twice(lambda: bot.merge_into(work.repo, "fettle/queue/main/1", head, "Candidate"))
    assert work.git("rev-list", "--count", f"{tip}..{work.pull('fettle/queue/main/1')}") == "2"
    assert merged == work.pull("fettle/queue/main/1")


async def test_a_secondary_limit_with_a_time_is_obeyed(peer, work, bot):
    peer.fault("secondary_rate_limit", path=str(work.repo), retry_after=42)
    with pytest.raises(errors.RateLimited) as caught:
        await bot.repository(work.repo)
    assert caught.value.retry_after == timedelta(seconds=42)


@pytest.mark.parametrize("status", [403, 429])
async def test_a_secondary_limit_without_a_time_waits_a_minute(peer, work, bot, status):
    peer.fault("secondary_rate_limit", path=str(work.repo), status=status)
    with pytest.raises(errors.RateLimited) as caught:
        await bot.repository(work.repo)
    assert caught.value.retry_after == timedelta(minutes=1)


async def test_a_used_up_quota_waits_for_its_reset(peer, work, bot):
    peer.fault("primary_rate_limit", path=str(work.repo), seconds=300)
    with pytest.raises(errors.RateLimited) as caught:
        await bot.repository(work.repo)
    assert caught.value.retry_after is not None
    # The forge writes its Date header anew about once a second, and later when it is busy: it is behind by that much.
    assert timedelta(seconds=300) <= caught.value.retry_after < timedelta(seconds=330)


async def test_a_token_that_expires_mid_run_is_replaced(peer, work, app_bot):
    issue = peer.issue(work.repo, "It is broken", [])
    await app_bot.say(issue, key="status", body="one")
    peer.fault("expire_tokens")
    with pytest.raises(errors.ForgeUnavailable, match="the same call again uses a new one"):
        await app_bot.say(issue, key="status", body="two")
    assert "two" in (await app_bot.say(issue, key="status", body="two")).body


async def test_a_permission_the_app_was_not_given_is_said(peer, installation):
    """GitHub refuses to mint a token with more than was granted; the run must not go on with less."""
    peer.post("/_devforge/users", login="frugal")
    granted = {"issues": "read"}
    made = peer.post("/_devforge/installations", app="fettle-app", account="frugal", permissions=granted)
    settings = connect.ForgeSettings(api_url=peer.url, **{**installation, "installation_id": made["id"]})
    async with contextlib.aclosing(connect.open_forge(settings)) as adapter:
        with pytest.raises(errors.InvalidRequest, match=r"token for frugal/x from installation \d+ of GitHub App"):
            await adapter.repository(refs.Repository(owner="frugal", name="x"))


async def test_a_webhook_is_signed_and_names_the_work(peer, work, script):
    hook = {"config": {"url": script.url, "secret": "k3y", "content_type": "json"}, "events": ["issues", "push"]}
    peer.owner.post(f"/repos/{work.repo}/hooks", json=hook).raise_for_status()
    for _ in range(10):
        script.reply(204)
    peer.issue(work.repo, "It is broken", ["fettle"])
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    seen = {}
    while not {events.Kind.WORK_REQUESTED, events.Kind.HEAD_MOVED} <= seen.keys():
        delivery = script.received.get(timeout=20)
        signature = delivery.headers["x-hub-signature-256"]
        assert github_events.verify_signature("k3y", delivery.raw, signature)
        assert not github_events.verify_signature("other", delivery.raw, signature)
        for event in github_events.parse(delivery.headers["x-github-event"], json.loads(delivery.raw)):
            seen.setdefault(event.kind, event)
    assert (seen[events.Kind.WORK_REQUESTED].issue, seen[events.Kind.WORK_REQUESTED].repo) == (1, work.repo)
    assert (seen[events.Kind.HEAD_MOVED].branch, seen[events.Kind.HEAD_MOVED].head_sha) == (BRANCH, head)
