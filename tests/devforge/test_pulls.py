"""Pull requests from opening to merging, on real commits."""

from tests.devforge import world


async def test_a_pull_request_is_opened_read_and_merged(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": "three = 3\n"})
    issue = await repository.bot.post(f"{repository.path}/issues", {"title": "Add three"})
    pull = await repository.pull("change", "Add three", f"Closes #{issue['number']}")
    assert (pull["head"]["sha"], pull["state"], pull["mergeable"], pull["mergeable_state"]) == (
        sha,
        "open",
        True,
        "clean",
    )
    assert (pull["commits"], pull["additions"], pull["changed_files"]) == (1, 1, 1)
    files = await repository.bot.get(f"{repository.path}/pulls/{pull['number']}/files")
    assert files[0]["filename"] == "new.py"
    assert files[0]["patch"] == "@@ -0,0 +1 @@\n+three = 3"
    merged = await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": sha})
    assert merged["merged"] is True
    after = await repository.bot.get(f"{repository.path}/pulls/{pull['number']}")
    assert (after["state"], after["merged"], after["merge_commit_sha"]) == ("closed", True, merged["sha"])
    closed = await repository.bot.get(f"{repository.path}/issues/{issue['number']}")
    assert (closed["state"], closed["state_reason"]) == ("closed", "completed")
    await repository.work.git("fetch", "origin")
    assert await repository.work.git("rev-parse", "origin/main") == merged["sha"]
    assert sha in await repository.work.git("rev-list", "--parents", "-1", "origin/main")
