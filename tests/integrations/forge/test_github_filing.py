"""Issues are filed once: on the development forge, and against answers that a forge may give."""

from datetime import UTC, datetime, timedelta

import pytest

from domain import errors
from integrations.forge import markers

KEY = "breakdown:spec/store-tokens-0a1b2c3d"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def _file(client, repo, *, key=KEY, title="Store tokens", labels=(), since=None):
    since = since or datetime.now(UTC)
    return await client.file_issue(repo, key=key, title=title, body="Encrypted.", labels=labels, since=since)


async def test_an_issue_is_filed_once_however_often_it_is_asked_for(peer, work, client):
    peer.owner.post(f"/repos/{work.repo}/labels", json={"name": "Bug", "color": "ff0000"}).raise_for_status()
    first = await _file(client, work.repo, labels=["Bug"])
    again = await _file(client, work.repo, title="Store the tokens")
    assert (first.already_made, again.already_made) == (False, True)
    assert again.issue.ref == first.issue.ref
    read = await client.issue(first.issue.ref)
    assert (read.title, read.labels, read.author) == ("Store tokens", ("Bug",), await client.whoami())
    assert read.body == f"<!-- fettle:{KEY} -->\nEncrypted."
    assert len([line for line in peer.writes() if line == f"POST /repos/{work.repo}/issues"]) == 1


async def test_an_issue_whose_answer_was_lost_is_found_by_the_next_try(peer, work, bot):
    peer.fault("commit_then_502", method="POST", path=f"{work.repo}/issues", count=1)
    with pytest.raises(errors.ForgeUnavailable):
        await _file(bot, work.repo)
    assert (await _file(bot, work.repo)).already_made
    assert len(await bot.newest_issues(work.repo, most=100)) == 1


async def test_a_closed_issue_of_ours_is_not_filed_again(work, client):
    first = await _file(client, work.repo)
    await client.close_issue(first.issue.ref, completed=True)
    again = await _file(client, work.repo)
    assert (again.already_made, again.issue.open) == (True, False)


async def test_issues_are_listed_newest_first_without_pull_requests(peer, work, client):
    old = peer.issue(work.repo, "Old", [])
    new = peer.issue(work.repo, "New", [])
    await client.close_issue(old, completed=False)
    work.push("fettle/issue-9-x", {"src/app.py": "a = 2\n"})
    await client.open_pull_request(
        work.repo, head_branch="fettle/issue-9-x", base_branch="main", title="x", body="y", draft=False
    )
    listed = await client.newest_issues(work.repo, most=100)
    assert [(issue.ref, issue.open) for issue in listed] == [(new, True), (old, False)]


async def test_labels_keep_their_spelling(peer, work, client):
    for name in ("Area: Billing", "security"):
        peer.owner.post(f"/repos/{work.repo}/labels", json={"name": name, "color": "ff0000"}).raise_for_status()
    assert {"Area: Billing", "security"} <= set(await client.label_names(work.repo))


async def test_the_look_up_covers_an_hour_before_the_plan_since_clocks_differ(script, github_client, repo):
    script.reply(200, [])
    script.reply(201, {"number": 3, "title": "Store tokens"})
    await _file(github_client, repo, since=LONG_AGO)
    assert "since=2025-12-31T23%3A00%3A00Z" in script.asked[0].path
    assert "state=all" in script.asked[0].path


async def test_an_issue_by_somebody_else_with_our_marker_does_not_count(script, github_client, repo):
    """Anybody can write a marker: it must not make us take a stranger's issue for one that we filed."""
    theirs = {"number": 2, "title": "x", "body": markers.marked(KEY, "trust me"), "user": {"login": "mallory"}}
    script.reply(200, [theirs])
    script.reply(200, {"login": "fettle-bot"})
    script.reply(201, {"number": 3, "title": "Store tokens"})
    assert (await _file(github_client, repo)).issue.ref.number == 3


async def test_a_list_of_the_newest_ends_where_it_was_asked_to(script, github_client, repo):
    script.reply(200, [{"number": 9, "title": "x"}], link=f'<{script.url}/page/2>; rel="next"')
    assert [issue.ref.number for issue in await github_client.newest_issues(repo, most=100)] == [9]
    assert "sort=created&direction=desc" in script.asked[0].path


async def test_two_issues_with_one_key_are_the_older_one(script, github_client, repo):
    ours = {"title": "x", "body": markers.marked(KEY, "x"), "user": {"login": "fettle-bot"}}
    script.reply(200, [{**ours, "number": 8}, {**ours, "number": 5}])
    script.reply(200, {"login": "fettle-bot"})
    assert (await _file(github_client, repo)).issue.ref.number == 5


def test_a_key_is_read_from_the_first_line_only():
    assert markers.key_of(markers.marked("a/b", "text")) == "a/b"
    assert markers.key_of("text\n<!-- fettle:a/b -->") == ""
    assert markers.key_of("<!-- fettle:a b -->\n") == ""
    assert markers.key_of(None) == ""


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=1)])
async def test_filing_with_any_horizon_finds_what_was_just_filed(work, client, age):
    await _file(client, work.repo, since=datetime.now(UTC) - age)
    assert (await _file(client, work.repo, since=datetime.now(UTC) - age)).already_made
