"""The whole port against a forge on real git: what is asked for is there afterwards, and twice is as good as once."""

import pytest

from domain import errors, forge, policy, refs
from integrations.forge import github_api, port
from tests.integrations.forge.peer import BOT

BRANCH = "fettle/issue-1-mend-it"
MERGE = policy.MergeMethod.MERGE


async def _opened(client, work, *, draft=True):
    return await client.open_pull_request(
        work.repo, head_branch=BRANCH, base_branch="main", title="Mend it", body="Closes #1", draft=draft
    )


async def test_an_issue_becomes_a_merged_pull_request(peer, work, client):
    """The story of one run, as a person's token and as an app; every step is asked for twice."""
    facts = await client.repository(work.repo)
    assert (facts.default_branch, facts.can_push) == ("main", True)
    await client.ensure_labels(
        work.repo, [port.Label("fettle", "0e8a16", "Work for Fettle"), port.Label("done", "ffffff")]
    )
    issue = peer.issue(work.repo, "It is broken", ["fettle"])
    assert [found.ref for found in await client.open_issues(work.repo, label="fettle")] == [issue]
    read = await client.issue(issue)
    assert (read.title, read.author, read.open, read.labels) == ("It is broken", "acme", True, ("fettle",))

    credentials = await client.push_credentials(work.repo)
    assert client.clone_url(work.repo) == work.url
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"}, token=credentials.token)
    assert await client.branch_sha(work.repo, BRANCH) == head

    for _ in range(2):
        await client.say(issue, key="status", body="Working on it.")
        pull = await _opened(client, work)
    assert (pull.head_sha, pull.draft, pull.open, pull.merged) == (head, True, True, False)
    assert (await client.find_pull_request(work.repo, head_branch=BRANCH)) == await client.pull_request(pull.ref)
    for _ in range(2):
        await client.review(pull.ref, key="r1", head_sha=head, event=forge.ReviewEvent.APPROVE, body="Right.")
        await client.mark_ready(pull)
    for _ in range(2):
        made = await client.merge(pull.ref, head_sha=head, method=MERGE, title="Mend it (#2)")
    assert made.already_made
    assert made.sha == work.pull("main")
    assert work.git("rev-list", "--parents", "-1", made.sha).split()[-1] == head
    for _ in range(2):
        await client.swap_labels(issue, add=["done"], remove=["fettle"])
        await client.close_issue(issue, completed=True)
        await client.delete_branch(work.repo, BRANCH)
    after = await client.issue(issue)
    assert (after.open, after.labels) == (False, ("done",))
    assert await client.branch_sha(work.repo, BRANCH) is None
    ours = [line for line in peer.writes() if f"/{work.repo.name}/" in line and "/collaborators/" not in line]
    assert len([line for line in ours if line.endswith("/comments")]) == 1
    assert len([line for line in ours if line.endswith("/reviews")]) == 1
    assert len([line for line in ours if line.endswith("/merge")]) == 1
    me = await client.whoami()
    comments = peer.owner.get(f"/repos/{work.repo}/issues/1/comments").json()
    assert [comment["user"]["login"] for comment in comments] == [me]


async def test_a_comment_is_edited_in_place(peer, work, bot):
    issue = peer.issue(work.repo, "It is broken", [])
    first = await bot.say(issue, key="status", body="one")
    second = await bot.say(issue, key="status", body="two")
    other = await bot.say(issue, key="report", body="two")
    assert first.id == second.id != other.id
    assert "two" in second.body


async def test_what_a_branch_adds_is_compared(work, bot):
    base = work.git("rev-parse", "main")
    head = work.push(BRANCH, {"src/app.py": "a = 2\n", "docs/new.md": "new\n"})
    work.push("main", {"other.txt": "elsewhere\n"})
    compared = await bot.compare(work.repo, "main", BRANCH)
    assert (compared.ahead_by, compared.behind_by, compared.merge_base_sha) == (1, 1, base)
    assert compared.files == ("docs/new.md", "src/app.py")
    assert await bot.tree_sha(work.repo, head) == work.git("rev-parse", f"{head}^{{tree}}")


async def test_a_diff_is_of_the_branch_alone(work, bot):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n", "docs/new.md": "new\n"})
    work.push("main", {"other.txt": "elsewhere\n"})
    diff = await bot.diff(work.repo, "main", head)
    assert diff.startswith("diff --git a/docs/new.md b/docs/new.md\n")
    assert [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "+new",
        "-a = 1",
        "+a = 2",
    ]


async def test_a_branch_of_ours_is_put_moved_and_removed(work, bot):
    first = work.git("rev-parse", "main")
    second = work.push("main", {"src/app.py": "a = 3\n"})
    for sha in (second, second, first):
        await bot.put_branch(work.repo, "fettle/queue/main/7", sha)
        assert await bot.branch_sha(work.repo, "fettle/queue/main/7") == sha
    for _ in range(2):
        await bot.delete_branch(work.repo, "fettle/queue/main/7")
    assert await bot.branch_sha(work.repo, "fettle/queue/main/7") is None


async def test_a_candidate_is_merged_once(work, bot):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    tip = work.push("main", {"other.txt": "elsewhere\n"})
    await bot.put_branch(work.repo, "fettle/queue/main/7", tip)
    merged = await bot.merge_into(work.repo, "fettle/queue/main/7", head, "Candidate")
    assert merged == work.pull("fettle/queue/main/7")
    assert work.git("rev-list", "--parents", "-1", merged).split() == [merged, tip, head]
    assert await bot.merge_into(work.repo, "fettle/queue/main/7", head, "Candidate") == merged


async def test_a_conflict_is_not_mergeable(work, bot):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    tip = work.push("main", {"src/app.py": "a = 3\n"})
    await bot.put_branch(work.repo, "fettle/queue/main/7", tip)
    with pytest.raises(errors.NotMergeable, match="change the same lines"):
        await bot.merge_into(work.repo, "fettle/queue/main/7", head, "Candidate")
    pull = await _opened(bot, work, draft=False)
    with pytest.raises(errors.NotMergeable, match=r"merge acme/.*#1 at"):
        await bot.merge(pull.ref, head_sha=head, method=MERGE, title="Mend it")


@pytest.mark.parametrize("method", list(policy.MergeMethod))
async def test_every_way_of_merging_is_found_again(work, bot, method):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await _opened(bot, work, draft=False)
    made = await bot.merge(pull.ref, head_sha=head, method=method, title="Mend it (#1)")
    assert made == forge.Merge(sha=work.pull("main"))
    again = await bot.merge(pull.ref, head_sha=head, method=method, title="Mend it (#1)")
    assert again == forge.Merge(sha=made.sha, already_made=True)


async def test_a_head_that_moved_after_the_verdict_is_never_merged(work, bot):
    judged = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await _opened(bot, work, draft=False)
    found = work.push(BRANCH, {"src/app.py": "a = 22\n"})
    with pytest.raises(errors.HeadMoved) as caught:
        await bot.merge(pull.ref, head_sha=judged, method=MERGE, title="Mend it")
    assert (caught.value.expected_sha, caught.value.found_sha) == (judged, found)
    assert not (await bot.pull_request(pull.ref)).merged


async def test_a_merge_of_another_head_is_not_reported_as_ours(work, bot):
    judged = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await _opened(bot, work, draft=False)
    newer = work.push(BRANCH, {"src/app.py": "a = 22\n"})
    await bot.merge(pull.ref, head_sha=newer, method=MERGE, title="Mend it")
    with pytest.raises(errors.HeadMoved):
        await bot.merge(pull.ref, head_sha=judged, method=MERGE, title="Mend it")


async def test_a_commit_without_checks_has_none(work, bot):
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    await _opened(bot, work)
    assert await bot.checks(work.repo, head) == []
    assert await bot.required_checks(work.repo, "main") == []


async def test_a_required_check_holds_the_merge_until_it_passes(peer, work, client):
    peer.require(work.repo, checks=[{"context": "unit"}])
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    pull = await _opened(client, work, draft=False)
    assert await client.required_checks(work.repo, "main") == [forge.RequiredCheck(name="unit")]
    with pytest.raises(errors.NotMergeable):
        await client.merge(pull.ref, head_sha=head, method=MERGE, title="Mend it")
    status = {"context": "unit", "state": "success", "description": "2 passed"}
    peer.owner.post(f"/repos/{work.repo}/statuses/{head}", json=status).raise_for_status()
    (check,) = await client.checks(work.repo, head)
    assert (check.name, check.state, check.summary) == ("unit", forge.CheckState.SUCCESS, "2 passed")
    assert not (await client.merge(pull.ref, head_sha=head, method=MERGE, title="Mend it")).already_made


async def test_checks_carry_the_app_that_a_ruleset_can_name(peer, work, bot, installation):
    peer.require(work.repo, checks=[{"context": "unit", "app_id": installation["app_id"]}])
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    run = {"name": "unit", "head_sha": head, "status": "completed", "conclusion": "timed_out"}
    peer.owner.post(f"/repos/{work.repo}/check-runs", json=run).raise_for_status()
    (required,) = await bot.required_checks(work.repo, "main")
    (check,) = await bot.checks(work.repo, head)
    assert required.app_id == installation["app_id"]
    assert check.app_id not in (None, required.app_id)
    assert check.state is forge.CheckState.FAILURE


async def test_roles_are_read(peer, work, bot):
    assert await bot.permission(work.repo, "acme") is forge.Permission.ADMIN
    assert await bot.permission(work.repo, BOT) is forge.Permission.WRITE
    assert not (await bot.permission(work.repo, "ada")).can_write
    assert await bot.permission(work.repo, "nobody-at-all") is forge.Permission.NONE
    peer.owner.put(f"/repos/{work.repo}/collaborators/ada", json={"permission": "triage"}).raise_for_status()
    assert await bot.permission(work.repo, "ada") is forge.Permission.TRIAGE


async def test_somebody_who_cannot_be_assigned_is_no_error(peer, work, bot):
    issue = peer.issue(work.repo, "It is broken", [])
    await bot.assign(issue, BOT)
    await bot.assign(issue, "nobody-at-all")
    held = peer.owner.get(f"/repos/{issue.repo}/issues/{issue.number}").json()["assignees"]
    assert [user["login"] for user in held] == [BOT]


async def test_a_closed_pull_request_is_found_and_a_new_one_opened(work, bot):
    work.push(BRANCH, {"src/app.py": "a = 2\n"})
    first = await _opened(bot, work)
    for _ in range(2):
        await bot.close_pull_request(first.ref)
    found = await bot.find_pull_request(work.repo, head_branch=BRANCH)
    assert found is not None
    assert (found.ref, found.open, found.merged) == (first.ref, False, False)
    second = await _opened(bot, work)
    assert second.ref != first.ref
    assert await bot.find_pull_request(work.repo, head_branch="fettle/issue-9") is None


async def test_what_is_not_there_says_so(bot):
    gone = refs.Repository(owner="acme", name="no-such-thing")
    with pytest.raises(errors.NotFound, match="acme/no-such-thing"):
        await bot.repository(gone)
    with pytest.raises(errors.NotFound, match="acme/no-such-thing#1"):
        await bot.issue(gone.issue(1))


async def test_many_issues_and_comments_are_read_to_the_last_page(peer, work, bot, monkeypatch):
    monkeypatch.setattr(github_api, "PER_PAGE", 10)
    issue = peer.issue(work.repo, "First", ["fettle"])
    for number in range(24):
        peer.issue(work.repo, f"Issue {number}", ["fettle"])
        body = {"body": f"noise {number}"}
        peer.owner.post(f"/repos/{work.repo}/issues/1/comments", json=body).raise_for_status()
    listed = await bot.open_issues(work.repo, label="fettle")
    assert [found.ref.number for found in listed] == list(range(1, 26))
    first = await bot.say(issue, key="status", body="one")
    assert (await bot.say(issue, key="status", body="two")).id == first.id
