"""Only our own branches are written, and a lost try is found again."""

import pytest

from domain import errors

HEAD = "a" * 40


@pytest.mark.parametrize("branch", ["main", "fettle", "fettle/", "fettle/../main", "refs/heads/fettle/x", "fettle//x"])
async def test_only_branches_of_ours_are_written(script, github_client, repo, branch):
    with pytest.raises(errors.Refused, match="below fettle/ only"):
        await github_client.put_branch(repo, branch, HEAD)
    with pytest.raises(errors.Refused, match="below fettle/ only"):
        await github_client.delete_branch(repo, branch)
    assert script.asked == []


async def test_a_repository_we_lost_is_not_a_branch_that_is_missing(script, github_client, repo):
    script.reply(404, {"message": "Not Found"})
    script.reply(404, {"message": "Not Found"})
    with pytest.raises(errors.NotFound, match="read repository acme/api"):
        await github_client.branch_sha(repo, "fettle/issue-7")


async def test_a_branch_made_by_a_lost_try_is_moved_and_not_an_error(script, github_client, repo):
    script.reply(404, {"message": "Not Found"})
    script.reply(200, {"default_branch": "main"})
    script.reply(422, {"message": "Reference already exists"})
    script.reply(200, {"object": {"sha": "b" * 40}})
    script.reply(200, {"object": {"sha": HEAD}})
    await github_client.put_branch(repo, "fettle/queue/main/5", HEAD)
    assert script.lines[-1] == "PATCH /repos/acme/api/git/refs/heads/fettle/queue/main/5"
    assert script.asked[-1].body == {"sha": HEAD, "force": True}


async def test_deleting_a_branch_that_is_gone_is_no_error(script, github_client, repo):
    script.reply(422, {"message": "Reference does not exist"})
    script.reply(404, {"message": "Not Found"})
    script.reply(200, {"default_branch": "main"})
    await github_client.delete_branch(repo, "fettle/issue-7")


async def test_a_branch_that_may_not_be_deleted_is_an_error(script, github_client, repo):
    script.reply(422, {"message": "Cannot delete this protected branch"})
    script.reply(200, {"object": {"sha": HEAD}})
    with pytest.raises(errors.InvalidRequest, match="protected"):
        await github_client.delete_branch(repo, "fettle/issue-7")


async def test_a_diff_is_read_as_text_with_its_odd_bytes(script, github_client, repo):
    script.reply(200, b"diff --git a/x b/x\n+caf\xe9\n", content_type="application/vnd.github.diff; charset=utf-8")
    assert await github_client.diff(repo, "main", HEAD) == "diff --git a/x b/x\n+caf\ufffd\n"
    assert script.asked[0].headers["accept"] == "application/vnd.github.diff"


async def test_a_diff_that_is_too_large_is_refused_and_never_cut(script, github_client, repo):
    script.reply(406, {"message": "Sorry, the diff exceeded the maximum number of lines (20000)"})
    with pytest.raises(errors.InvalidRequest, match="maximum number of lines"):
        await github_client.diff(repo, "main", HEAD)


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
async def test_another_page_is_never_taken_for_a_diff(script, github_client, repo, content_type):
    script.reply(200, b'{"files": []}', content_type=content_type)
    with pytest.raises(errors.ForgeUnavailable, match=f"the answer is {content_type}"):
        await github_client.diff(repo, "main", HEAD)
