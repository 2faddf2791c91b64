"""The wire: what is sent, what is followed, what is kept, and what counts as no answer."""

import contextlib
import socket

import httpx
import pytest

from domain import errors, refs
from integrations.forge import connect, github_api, http

ISSUE = {"number": 7, "title": "It is slow", "user": {"login": "ada"}, "labels": [{"name": "bug"}, "plain"]}


async def test_every_request_pins_the_api_version_and_carries_the_token(script, github_client, repo):
    script.reply(200, ISSUE)
    read = await github_client.issue(repo.issue(7))
    assert (read.title, read.author, read.labels) == ("It is slow", "ada", ("bug", "plain"))
    headers = script.asked[0].headers
    assert headers["x-github-api-version"] == "2022-11-28"
    assert headers["accept"] == "application/vnd.github+json"
    assert headers["authorization"] == "Bearer ghp_scripted_token"


async def test_unknown_fields_and_words_are_no_error(script, github_client, repo):
    script.reply(200, ISSUE | {"state": "hibernating", "type": {"new": True}, "assignees": None, "body": None})
    read = await github_client.issue(repo.issue(7))
    assert not read.open
    assert read.body == ""


async def test_all_pages_are_read(script, github_client, repo):
    script.reply(200, [{"name": "bug"}], link=f'<{script.url}/page/2>; rel="next", <{script.url}/page/9>; rel="last"')
    script.reply(200, [{"name": "old"}])
    script.reply(200, [])
    await github_client.swap_labels(repo.issue(7), add=["bug", "OLD"], remove=[])
    assert script.lines == ["GET /repos/acme/api/issues/7/labels", "GET /page/2"]
    assert script.asked[0].path.endswith("?per_page=100")


async def test_an_endless_list_is_cut_off(script, github_client, repo, monkeypatch):
    monkeypatch.setattr(github_api, "MAX_PAGES", 3)
    for page in range(4):
        script.reply(200, [{"name": str(page)}], link=f'<{script.url}/page/{page}>; rel="next"')
    with pytest.raises(errors.InvalidRequest, match="goes on after 3 pages"):
        await github_client.swap_labels(repo.issue(7), add=[], remove=["x"])
    assert len(script.asked) == 3


async def test_a_next_page_on_another_host_never_gets_the_token(script, github_client, repo):
    script.reply(200, [], link='<http://elsewhere.invalid/page/2>; rel="next"')
    with pytest.raises(errors.InvalidRequest, match=r"points to elsewhere\.invalid.*set api_url"):
        await github_client.swap_labels(repo.issue(7), add=[], remove=["x"])
    assert len(script.asked) == 1


async def test_an_unchanged_answer_is_revalidated_and_not_sent_again(script, github_client, repo):
    script.reply(200, ISSUE, etag='"one"')
    script.reply(304)
    script.reply(200, ISSUE | {"title": "New"}, etag='"two"')
    titles = [(await github_client.issue(repo.issue(7))).title for _ in range(3)]
    assert titles == ["It is slow", "It is slow", "New"]
    assert [request.headers.get("if-none-match") for request in script.asked] == [None, '"one"', '"one"']


async def test_a_revalidated_page_keeps_its_next_page(script, github_client, repo):
    for _ in range(2):
        script.reply(200, [{"name": "bug"}], etag='"1"', link=f'<{script.url}/page/2>; rel="next"')
        script.reply(200, [{"name": "old"}], etag='"2"')
    script.replies[2] = type(script.replies[2])(304, b"", {})
    for _ in range(2):
        await github_client.swap_labels(repo.issue(7), add=["bug", "old"], remove=[])
    assert script.lines[2:] == ["GET /repos/acme/api/issues/7/labels", "GET /page/2"]


async def test_a_pull_request_is_never_read_conditionally(script, github_client, repo, pull_json):
    """GitHub works out `mergeable` after the answer, and the ETag stays the same."""
    for mergeable in (None, True):
        script.reply(200, pull_json(mergeable=mergeable), etag='"same"')
    seen = [(await github_client.pull_request(repo.pull(5))).mergeable for _ in range(2)]
    assert seen == [None, True]
    assert "if-none-match" not in script.asked[1].headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_renamed_repository_is_followed_with_the_same_verb(script, github_client, repo, status):
    script.reply(status, {"message": "Moved Permanently"}, location=f"{script.url}/repositories/1/issues/7/labels")
    script.reply(200, [])
    script.reply(status, {"message": "Moved Permanently"}, location="/repositories/1/issues/7/labels")
    script.reply(200, [{"name": "bug"}])
    await github_client.swap_labels(repo.issue(7), add=["bug"], remove=[])
    assert script.lines[1] == "GET /repositories/1/issues/7/labels"
    assert script.lines[3] == "POST /repositories/1/issues/7/labels"
    assert script.asked[3].body == {"labels": ["bug"]}


async def test_a_redirect_to_another_host_never_gets_the_token(script, github_client, repo):
    script.reply(301, location="https://elsewhere.invalid/repos/acme/api/issues/7")
    with pytest.raises(errors.InvalidRequest, match=r"elsewhere\.invalid"):
        await github_client.issue(repo.issue(7))


async def test_redirects_end(script, github_client, repo):
    for _ in range(10):
        script.reply(301, location="/repos/acme/api/issues/7")
    with pytest.raises(errors.ForgeUnavailable, match="redirected more than 3 times"):
        await github_client.issue(repo.issue(7))
    assert len(script.asked) == 4


async def test_a_redirect_to_nowhere_is_no_answer(script, github_client, repo):
    script.reply(301)
    with pytest.raises(errors.ForgeUnavailable, match="without a Location"):
        await github_client.issue(repo.issue(7))


async def test_an_answer_without_end_is_dropped(script, github_client, repo, monkeypatch):
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 2**20)
    script.reply(200, b"[" + b" " * 2**21 + b"]")
    with pytest.raises(errors.ForgeUnavailable, match="exceeds 1 MB"):
        await github_client.issue(repo.issue(7))


async def test_a_forge_that_is_not_there_is_unavailable(repo):
    async with contextlib.aclosing(
        connect.open_forge(connect.ForgeSettings(api_url="http://127.0.0.1:1", token="t0ken"))
    ) as gone:
        with pytest.raises(errors.ForgeUnavailable, match=r"could not read acme/api#7: no answer from 127") as caught:
            await gone.issue(repo.issue(7))
    assert "t0ken" not in str(caught.value)


async def test_a_forge_that_is_silent_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = http.Transport(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=httpx.Timeout(10, read=0.2))
        with pytest.raises(errors.ForgeUnavailable, match="ReadTimeout"):
            await transport.send(http.Call("GET", "/user", to="wait"), authorization="Bearer x")
        await transport.aclose()


@pytest.mark.parametrize("name", ["..", "a/b", "a?b", "a#b", "%2e%2e"])
async def test_a_name_cannot_climb_out_of_its_path(script, github_client, name):
    script.reply(404, {"message": "Not Found"})
    with pytest.raises(errors.NotFound):
        await github_client.repository(refs.Repository(owner="acme", name=name))
    assert script.asked[0].path.count("/") == 3
    assert "?" not in script.asked[0].path
