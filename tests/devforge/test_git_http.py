"""Fetch and push with real git, and what the server refuses."""

from pathlib import Path

from tests.devforge import world


def _as(repository: world.Repository, folder: Path, token: str) -> world.Work:
    return world.Work(folder, repository.work.url, token)


async def test_a_stranger_clones_but_does_not_push(repository: world.Repository, tmp_path: Path) -> None:
    await repository.admin.post("/_devforge/users", {"login": "mallory", "token": "token-of-mallory"})
    eve = await _as(repository, tmp_path / "eve", "token-of-mallory").clone()
    await eve.git("checkout", "--quiet", "main")
    await eve.commit({"x.py": ""})
    assert "403" in await eve.git("push", "origin", "main", ok=False)
    forged = _as(repository, tmp_path / "eve", "wrong")
    assert "could not read Username" in await forged.git("fetch", "origin", ok=False)
    await repository.owner.patch(repository.path, {"private": True})
    assert "not found" in await eve.git("fetch", "origin", ok=False)


async def test_a_protected_branch_takes_only_green_commits(repository: world.Repository) -> None:
    await repository.protect("tests")
    sha = await repository.work.branch("change", {"new.py": ""})
    refused = await repository.work.git("push", "origin", f"{sha}:refs/heads/main", ok=False)
    assert 'Required status check "tests" is expected.' in refused
    await repository.status(sha, "pending")
    assert "is pending" in await repository.work.git("push", "origin", f"{sha}:refs/heads/main", ok=False)
    assert "Cannot delete" in await repository.work.git("push", "origin", ":refs/heads/main", ok=False)
    await repository.status(sha)
    await repository.work.git("push", "--quiet", "origin", f"{sha}:refs/heads/main")
    assert (await repository.bot.get(f"{repository.path}/git/ref/heads/main"))["object"]["sha"] == sha
    start = await repository.work.git("rev-parse", f"{sha}~1")
    await repository.status(start)
    forced = await repository.work.git("push", "origin", f"+{start}:refs/heads/main", ok=False)
    assert "Cannot force-push" in forced


async def test_one_refused_ref_does_not_stop_the_others(repository: world.Repository) -> None:
    await repository.protect("tests")
    await repository.work.git("checkout", "--quiet", "main")
    sha = await repository.work.commit({"new.py": ""})
    said = await repository.work.git("push", "origin", "main", f"{sha}:refs/heads/side", ok=False)
    assert "GH006: Protected branch update failed for refs/heads/main" in said
    assert (await repository.bot.get(f"{repository.path}/git/ref/heads/side"))["object"]["sha"] == sha


async def test_the_refs_of_pull_requests_are_read_only(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    said = await repository.work.git("push", "origin", f"main:refs/pull/{number}/head", ok=False)
    assert "hidden ref" in said
    await repository.work.git("fetch", "--quiet", "origin", f"refs/pull/{number}/head")
    assert await repository.work.git("rev-parse", "FETCH_HEAD") == sha


async def test_a_name_space_of_ones_own_is_no_branch_and_nothing_follows_from_it(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    branches = {branch["name"] for branch in await repository.bot.get(f"{repository.path}/branches")}
    later = await repository.work.commit({"later.py": ""})
    await repository.work.git("push", "--quiet", "origin", f"{later}:refs/tool/work")
    assert await repository.work.git("ls-remote", "origin", "refs/tool/*") == f"{later}\trefs/tool/work"
    assert {branch["name"] for branch in await repository.bot.get(f"{repository.path}/branches")} == branches
    assert (await repository.bot.get(f"{repository.path}/commits/{later}/check-runs"))["total_count"] == 0
    both = ("push", "--atomic", "origin", f"--force-with-lease=refs/tool/work:{sha}")
    said = await repository.work.git(*both, f"{sha}:refs/tool/work", f"{later}:refs/heads/other", ok=False)
    assert "stale info" in said
    assert "other" not in {branch["name"] for branch in await repository.bot.get(f"{repository.path}/branches")}


async def test_a_stale_lease_is_refused(repository: world.Repository) -> None:
    seen = await repository.work.branch("change", {"new.py": "1"})
    moved = await repository.work.branch("change", {"new.py": "2"}, "change")
    await repository.work.commit({"new.py": "3"})
    push = ("push", "origin", f"--force-with-lease=refs/heads/change:{seen}", "HEAD:refs/heads/change")
    assert "stale info" in await repository.work.git(*push, ok=False)
    assert (await repository.bot.get(f"{repository.path}/branches/change"))["commit"]["sha"] == moved


async def test_a_large_push_and_a_fresh_clone_arrive_whole(repository: world.Repository, tmp_path: Path) -> None:
    text = "".join(f"{number * 7919 % 1_000_003}\n" for number in range(300_000))
    await repository.work.branch("large", {"large.txt": text})
    fresh = await _as(repository, tmp_path / "fresh", repository.tokens["bot"]).clone()
    await fresh.git("checkout", "--quiet", "large")
    assert (fresh.folder / "large.txt").read_text() == text


async def test_a_repository_a_bundle_and_a_directory_can_be_imported(
    repository: world.Repository, tmp_path: Path
) -> None:
    sha = await repository.work.branch("trunk", {"new.py": "new\n"})
    await repository.work.git("tag", "v1")
    bundle = tmp_path / "all.bundle"
    await repository.work.git("bundle", "create", "--quiet", str(bundle), "HEAD", "trunk", "main", "v1")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "only.txt").write_text("x")
    wanted = {"git": repository.work.folder, "bundle": bundle, "plain": plain}
    found = {}
    for kind, path in wanted.items():
        name = f"{repository.name}-{kind}"
        made = await repository.admin.post("/_devforge/import", {"owner": "ada", "name": name, "path": str(path)})
        branches = await repository.owner.get(f"/repos/ada/{name}/branches")
        found[kind] = (made["default_branch"], {item["name"]: item["commit"]["sha"] for item in branches})
    assert found["git"][0] == found["bundle"][0] == "trunk"
    assert found["git"][1]["trunk"] == found["bundle"][1]["trunk"] == sha
    assert (found["plain"][0], list(found["plain"][1])) == ("main", ["main"])
    refused = await repository.admin.post("/_devforge/import", {"owner": "ada", "name": "x", "path": "nowhere"}, 422)
    assert "no absolute path" in refused["errors"][0]["message"]
