"""Refs, protection, comparisons, and merging branches without a pull request."""

from tests.devforge import world


async def test_a_green_candidate_moves_a_protected_branch_and_merges_its_pull_requests(
    repository: world.Repository,
) -> None:
    """This is how a merge queue works: test a candidate, then fast-forward main to exactly that commit."""
    await repository.protect("tests")
    one = await repository.work.branch("one", {"one.py": ""})
    two = await repository.work.branch("two", {"two.py": ""})
    first, second = await repository.pull("one"), await repository.pull("two")
    assert first["mergeable_state"] == "blocked"
    base = (await repository.bot.get(f"{repository.path}/git/ref/heads/main"))["object"]["sha"]
    queue = "fettle/queue/main/1"
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": f"refs/heads/{queue}", "sha": base})
    for sha in (one, two):
        merged = await repository.bot.post(f"{repository.path}/merges", {"base": queue, "head": sha})
    assert [parent["sha"] for parent in merged["parents"]][1] == two
    await repository.bot.call("POST", f"{repository.path}/merges", 204, {"base": queue, "head": two})
    move = {"sha": merged["sha"], "force": False}
    refused = await repository.bot.patch(f"{repository.path}/git/refs/heads/main", move, 422)
    assert refused["message"].startswith('Required status check "tests" is expected.')
    await repository.status(merged["sha"])
    await repository.bot.patch(f"{repository.path}/git/refs/heads/main", move)
    for pull in (first, second):
        found = await repository.bot.get(f"{repository.path}/pulls/{pull['number']}")
        assert (found["state"], found["merged"], found["merge_commit_sha"]) == ("closed", True, merged["sha"])
    await repository.bot.delete(f"{repository.path}/git/refs/heads/{queue}")


async def test_only_force_moves_a_branch_backwards(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    start = await repository.work.git("rev-parse", "main")
    path = f"{repository.path}/git/refs/heads/change"
    await repository.bot.patch(path, {"sha": start}, 422)
    await repository.bot.patch(path, {"sha": start, "force": True})
    await repository.bot.patch(path, {"sha": sha})
    await repository.bot.patch(path, {"sha": "1" * 40}, 422)
    await repository.bot.patch(f"{repository.path}/git/refs/heads/nowhere", {"sha": sha}, 422)
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": "refs/heads/change", "sha": sha}, 422)
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": "refs/heads/a..b", "sha": sha}, 422)
    await repository.bot.get(f"{repository.path}/git/ref/heads/nowhere", 404)


async def test_protection_asks_for_the_right_app_and_for_an_up_to_date_head(repository: world.Repository) -> None:
    rules = {"strict": True, "checks": [{"context": "tests", "app_id": 1}]}
    body = {
        "required_status_checks": rules,
        "enforce_admins": None,
        "required_pull_request_reviews": None,
        "restrictions": None,
    }
    found = await repository.owner.put(f"{repository.path}/branches/main/protection", body)
    assert found["required_status_checks"]["checks"] == [{"context": "tests", "app_id": 1}]
    sha = await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    await repository.status(sha)  # the right name, but not by the app that is asked for
    await repository.bot.put(f"{repository.path}/pulls/{number}/merge", {}, 405)
    run = {"name": "tests", "head_sha": sha, "conclusion": "success"}
    assert (await repository.bot.post(f"{repository.path}/check-runs", run))["app"]["id"] == 1
    base = await repository.work.git("rev-parse", "main")
    await repository.owner.delete(f"{repository.path}/branches/main/protection")
    await repository.bot.post(f"{repository.path}/merges", {"base": "main", "head": await _other(repository)})
    await repository.owner.put(f"{repository.path}/branches/main/protection", body)
    found = await repository.bot.get(f"{repository.path}/pulls/{number}")
    assert (found["mergeable_state"], found["base"]["sha"] != base) == ("behind", True)
    await repository.bot.put(f"{repository.path}/pulls/{number}/merge", {}, 405)
    listed = await repository.bot.get(f"{repository.path}/rules/branches/main")
    required = next(rule for rule in listed if rule["type"] == "required_status_checks")
    checks = required["parameters"]["required_status_checks"]
    assert checks == [{"context": "tests", "integration_id": 1}]


async def _other(repository: world.Repository) -> str:
    return await repository.work.branch("other", {"other.py": ""})


async def test_only_an_administrator_sees_and_changes_protection(repository: world.Repository) -> None:
    path = f"{repository.path}/branches/main/protection"
    await repository.owner.get(path, 404)
    await repository.protect("tests")
    await repository.bot.get(path, 403)
    await repository.bot.delete(path, 403)
    branch = await repository.bot.get(f"{repository.path}/branches/main")
    assert branch["protected"] is True
    assert branch["protection"]["required_status_checks"]["contexts"] == ["tests"]
    await repository.owner.delete(path)
    assert (await repository.bot.get(f"{repository.path}/branches/main"))["protected"] is False


async def test_a_branch_named_like_an_option_is_only_a_name(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    name = "--upload-pack=touch"
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": f"refs/heads/{name}", "sha": sha})
    pull = await repository.pull(name)
    assert pull["head"] | {"repo": None, "user": None} == {
        "label": f"ada:{name}",
        "ref": name,
        "sha": sha,
        "user": None,
        "repo": None,
    }
    compared = await repository.bot.get(f"{repository.path}/compare/main...{name}")
    assert compared["ahead_by"] == 1
    await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": sha})


async def test_a_comparison_tells_commits_files_and_directions(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"app.py": "one = 1\ntwo = 22\n", "ü b.txt": "x\n"})
    await repository.work.git("checkout", "--quiet", "main")
    await repository.work.git("rm", "--quiet", "app.py")
    base = await repository.work.commit({"moved.py": "one = 1\ntwo = 2\n"}, "move")
    await repository.work.git("push", "--quiet", "origin", "main")
    found = await repository.bot.get(f"{repository.path}/compare/main...change")
    assert (found["status"], found["ahead_by"], found["behind_by"]) == ("diverged", 1, 1)
    assert found["merge_base_commit"]["sha"] == await repository.work.git("rev-parse", "main~1")
    assert [commit["sha"] for commit in found["commits"]] == [sha]
    changed = {item["filename"]: item for item in found["files"]}
    assert set(changed) == {"app.py", "ü b.txt"}
    assert changed["app.py"]["patch"] == "@@ -1,2 +1,2 @@\n one = 1\n-two = 2\n+two = 22"
    commit = await repository.bot.get(f"{repository.path}/commits/{base}")
    assert [(item["status"], item.get("previous_filename")) for item in commit["files"]] == [("renamed", "app.py")]
    same = await repository.bot.get(f"{repository.path}/compare/{sha}...{sha}")
    assert (same["status"], same["files"]) == ("identical", [])


async def test_contents_are_read_at_a_ref(repository: world.Repository) -> None:
    await repository.work.branch("change", {"folder/new.txt": "new\n"})
    path = f"{repository.path}/contents"
    assert [item["name"] for item in await repository.bot.get(path)] == ["app.py"]
    inside = await repository.bot.get(f"{path}/folder?ref=change")
    assert [(item["path"], item["type"]) for item in inside] == [("folder/new.txt", "file")]
    raw = await repository.bot.http.get(
        f"{path}/folder/new.txt?ref=change", headers={"Accept": "application/vnd.github.raw+json"}
    )
    assert raw.text == "new\n"
    await repository.bot.get(f"{path}/folder/new.txt", 404)


async def test_a_diff_can_be_had_as_text(repository: world.Repository) -> None:
    await repository.work.branch("change", {"new.txt": "new\n"})
    number = (await repository.pull("change"))["number"]
    for path in (f"pulls/{number}", "compare/main...change", "commits/change"):
        headers = {"Accept": "application/vnd.github.diff"}
        answer = await repository.bot.http.get(f"{repository.path}/{path}", headers=headers)
        assert answer.headers["content-type"] == "application/vnd.github.diff; charset=utf-8"
        assert answer.text.startswith("diff --git a/new.txt b/new.txt\nnew file mode 100644\n")
        assert answer.text.endswith("@@ -0,0 +1 @@\n+new\n")


async def test_a_commit_message_on_main_closes_its_issue(repository: world.Repository) -> None:
    issue = await repository.bot.post(f"{repository.path}/issues", {"title": "Broken"})
    await repository.work.git("checkout", "--quiet", "main")
    await repository.work.commit({"app.py": "one = 1\n"}, f"Mend it\n\nfixes #{issue['number']}")
    await repository.work.git("push", "--quiet", "origin", "main")
    assert (await repository.bot.get(f"{repository.path}/issues/{issue['number']}"))["state"] == "closed"
