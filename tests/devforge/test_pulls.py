"""Pull requests from opening to merging, on real commits."""

import pytest

from tests.devforge import world


async def test_a_pull_request_is_opened_read_and_merged(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": "three = 3\n"})
    issue = await repository.bot.post(f"{repository.path}/issues", {"title": "Add three"})
    pull = await repository.pull("change", "Add three", f"Closes #{issue['number']}")
    assert (pull["head"]["sha"], pull["state"], pull["mergeable"]) == (sha, "open", True)
    assert (pull["mergeable_state"], pull["commits"], pull["additions"]) == ("clean", 1, 1)
    files = await repository.bot.get(f"{repository.path}/pulls/{pull['number']}/files")
    assert (files[0]["filename"], files[0]["patch"]) == ("new.py", "@@ -0,0 +1 @@\n+three = 3")
    commits = await repository.bot.get(f"{repository.path}/pulls/{pull['number']}/commits")
    assert [commit["sha"] for commit in commits] == [sha]
    merged = await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": sha})
    after = await repository.bot.get(f"{repository.path}/pulls/{pull['number']}")
    assert (after["state"], after["merged"], after["merge_commit_sha"]) == ("closed", True, merged["sha"])
    closed = await repository.bot.get(f"{repository.path}/issues/{issue['number']}")
    assert (closed["state"], closed["state_reason"]) == ("closed", "completed")
    await repository.work.git("fetch", "origin")
    assert await repository.work.git("rev-parse", "origin/main") == merged["sha"]
    assert sha in await repository.work.git("rev-list", "--parents", "-1", "origin/main")
    await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": sha}, 405)


async def test_the_newest_api_version_has_no_merge_commit_sha(repository: world.Repository) -> None:
    await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    path = f"{repository.path}/pulls/{number}"
    new = await repository.bot.call("GET", path, version="2026-03-10")
    old = await repository.bot.call("GET", path, version="2022-11-28")
    assert {"merge_commit_sha", "assignee"} & new.keys() == set()
    assert {"merge_commit_sha", "assignee"} <= old.keys()
    await repository.bot.call("GET", path, 400, version="2001-01-01")


async def test_a_conflict_is_seen_and_refused(repository: world.Repository) -> None:
    sha = await repository.work.branch("ours", {"app.py": "one = 'ours'\n"})
    await repository.work.branch("theirs", {"app.py": "one = 'theirs'\n"})
    ours, theirs = await repository.pull("ours"), await repository.pull("theirs")
    await repository.bot.put(f"{repository.path}/pulls/{ours['number']}/merge", {"sha": sha})
    found = await repository.bot.get(f"{repository.path}/pulls/{theirs['number']}")
    assert (found["mergeable"], found["mergeable_state"]) == (False, "dirty")
    await repository.bot.put(f"{repository.path}/pulls/{theirs['number']}/merge", {}, 405)
    refused = await repository.bot.post(f"{repository.path}/merges", {"base": "main", "head": "theirs"}, 409)
    assert refused["message"] == "Merge conflict"


async def test_a_moved_head_is_refused_with_409(repository: world.Repository) -> None:
    seen = await repository.work.branch("change", {"new.py": "1\n"})
    number = (await repository.pull("change"))["number"]
    moved = await repository.work.branch("change", {"new.py": "2\n"}, "change")
    found = await repository.bot.get(f"{repository.path}/pulls/{number}")
    assert found["head"]["sha"] == moved
    await repository.bot.put(f"{repository.path}/pulls/{number}/merge", {"sha": seen}, 409)
    assert (await repository.bot.get(f"{repository.path}/pulls/{number}"))["state"] == "open"
    await repository.work.git("fetch", "origin", f"refs/pull/{number}/head")
    assert await repository.work.git("rev-parse", "FETCH_HEAD") == moved


async def test_a_second_pull_request_and_an_empty_one_are_refused(repository: world.Repository) -> None:
    await repository.work.branch("change", {"new.py": ""})
    await repository.pull("change")
    wanted = {"title": "Again", "head": "ada:change", "base": "main"}
    twice = await repository.bot.post(f"{repository.path}/pulls", wanted, 422)
    assert twice["errors"][0]["message"] == "A pull request already exists for ada:change."
    await repository.work.git("push", "--quiet", "origin", "main:refs/heads/same")
    empty = await repository.bot.post(f"{repository.path}/pulls", wanted | {"head": "same"}, 422)
    assert empty["errors"][0]["message"] == "No commits between main and same"
    await repository.bot.post(f"{repository.path}/pulls", wanted | {"head": "nowhere"}, 422)
    found = await repository.bot.get(f"{repository.path}/pulls?head=ada:change&state=all")
    assert len(found) == 1
    assert await repository.bot.get(f"{repository.path}/pulls?head=eve:change&state=all") == []


@pytest.mark.parametrize("method", ["squash", "rebase"])
async def test_squash_and_rebase_rewrite_the_commits(repository: world.Repository, method: str) -> None:
    await repository.work.branch("change", {"a.py": "a\n"}, message="add a")
    head = await repository.work.branch("change", {"b.py": "b\n"}, "change", "add b")
    number = (await repository.pull("change", "Add both"))["number"]
    await repository.work.git("checkout", "--quiet", "main")
    await repository.work.commit({"c.py": "c\n"}, "meanwhile")
    await repository.work.git("push", "--quiet", "origin", "main")
    wanted = {"merge_method": method, "sha": head}
    sha = (await repository.bot.put(f"{repository.path}/pulls/{number}/merge", wanted))["sha"]
    await repository.work.git("fetch", "--quiet", "origin")
    subjects = (await repository.work.git("log", "--format=%s", "origin/main")).split("\n")
    expected = [f"Add both (#{number})"] if method == "squash" else ["add b", "add a"]
    assert subjects == [*expected, "meanwhile", "start"]
    assert await repository.work.git("ls-tree", "--name-only", "origin/main") == "a.py\napp.py\nb.py\nc.py"
    found = await repository.bot.get(f"{repository.path}/pulls/{number}")
    assert (found["merged"], found["merge_commit_sha"]) == (True, sha)


async def test_a_draft_is_not_merged_until_it_is_ready(repository: world.Repository) -> None:
    await repository.work.branch("change", {"new.py": ""})
    pull = await repository.pull("change", draft=True)
    assert (pull["draft"], pull["mergeable_state"]) == (True, "draft")
    refused = await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {}, 405)
    assert refused["message"] == "Pull Request is still a draft"
    mutation = (
        "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) "
        "{ pullRequest { id isDraft state } } }"
    )
    answer = await repository.bot.post("/graphql", {"query": mutation, "variables": {"id": pull["node_id"]}}, 200)
    ready = answer["data"]["markPullRequestReadyForReview"]["pullRequest"]
    assert ready == {"id": pull["node_id"], "isDraft": False, "state": "OPEN"}
    await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {})


async def test_graphql_refuses_what_it_does_not_know_in_words(repository: world.Repository) -> None:
    async def ask(query: str) -> str:
        answer = await repository.bot.post("/graphql", {"query": query}, 200)
        return str(answer["errors"][0]["message"])

    assert await ask("mutation { addStar(input: {}) { id } }") == "Field 'addStar' doesn't exist on type 'Mutation'"
    unknown = 'mutation { convertPullRequestToDraft(input: {pullRequestId: "PR_999999"}) { clientMutationId } }'
    assert await ask(unknown) == "Could not resolve to a node with the global id of 'PR_999999'"
    assert "Expected" in await ask("mutation { convertPullRequestToDraft(")
    async with repository.server.client().http as nobody:
        assert (await nobody.post("/graphql", json={"query": "{ viewer { login } }"})).status_code == 401


async def test_update_branch_merges_the_base_into_the_head(repository: world.Repository) -> None:
    head = await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    path = f"{repository.path}/pulls/{number}/update-branch"
    await repository.bot.put(path, {}, 422)
    await repository.work.git("checkout", "--quiet", "main")
    await repository.work.commit({"c.py": "c\n"}, "meanwhile")
    await repository.work.git("push", "--quiet", "origin", "main")
    await repository.bot.put(path, {"expected_head_sha": "0" * 40}, 422)
    await repository.bot.put(path, {"expected_head_sha": head}, 202)
    compared = await repository.bot.get(f"{repository.path}/compare/main...change")
    assert (compared["status"], compared["behind_by"], compared["ahead_by"]) == ("ahead", 0, 2)
    found = await repository.bot.get(f"{repository.path}/pulls/{number}")
    assert found["head"]["sha"] == compared["commits"][-1]["sha"] != head


async def test_reviews_are_about_a_commit_and_never_by_the_author(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"app.py": "one = 1\ntwo = 22\n"})
    number = (await repository.pull("change"))["number"]
    path = f"{repository.path}/pulls/{number}/reviews"
    await repository.bot.post(path, {"event": "APPROVE"}, 422)
    await repository.owner.post(path, {"event": "REQUEST_CHANGES"}, 422)
    await repository.owner.post(path, {"event": "NONSENSE", "body": "x"}, 422)
    outside = {"path": "app.py", "line": 400, "side": "RIGHT", "body": "here"}
    await repository.owner.post(path, {"event": "COMMENT", "body": "x", "comments": [outside]}, 422)
    inside = outside | {"line": 2}
    wanted = {"event": "COMMENT", "body": "Look", "commit_id": sha, "comments": [inside]}
    review = await repository.owner.post(path, wanted, 200)
    assert (review["state"], review["commit_id"], review["user"]["login"]) == ("COMMENTED", sha, "ada")
    approved = await repository.owner.post(path, {"event": "APPROVE", "commit_id": sha}, 200)
    assert [item["state"] for item in await repository.bot.get(path)] == ["COMMENTED", "APPROVED"]
    assert (await repository.bot.get(f"{path}/{approved['id']}"))["state"] == "APPROVED"
    comments = await repository.bot.get(f"{repository.path}/pulls/{number}/comments")
    assert [(item["path"], item["line"], item["body"]) for item in comments] == [("app.py", 2, "here")]


async def test_a_required_review_is_waited_for(repository: world.Repository) -> None:
    rules = {
        "required_status_checks": None,
        "enforce_admins": None,
        "required_pull_request_reviews": {"required_approving_review_count": 1},
        "restrictions": None,
    }
    await repository.owner.put(f"{repository.path}/branches/main/protection", rules)
    sha = await repository.work.branch("change", {"new.py": ""})
    pull = await repository.pull("change")
    assert pull["mergeable_state"] == "blocked"
    refused = await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {}, 405)
    assert refused["message"].startswith("At least 1 approving review")
    await repository.owner.post(f"{repository.path}/pulls/{pull['number']}/reviews", {"event": "APPROVE"}, 200)
    await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": sha})


async def test_a_pull_request_closes_with_its_branch_and_reopens(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    await repository.bot.delete(f"{repository.path}/git/refs/heads/change")
    found = await repository.bot.get(f"{repository.path}/pulls/{number}")
    assert (found["state"], found["merged"]) == ("closed", False)
    await repository.bot.patch(f"{repository.path}/pulls/{number}", {"state": "open"}, 422)
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": "refs/heads/change", "sha": sha})
    changed = await repository.bot.patch(f"{repository.path}/pulls/{number}", {"state": "open", "title": "Again"})
    assert (changed["state"], changed["title"]) == ("open", "Again")


async def test_a_head_with_nothing_left_to_merge_closes_its_pull_request(repository: world.Repository) -> None:
    await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    await repository.work.git("push", "--quiet", "origin", "+main:refs/heads/change")
    found = await repository.bot.get(f"{repository.path}/pulls/{number}")
    assert (found["state"], found["merged"]) == ("closed", False)
