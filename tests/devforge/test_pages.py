"""Pages for people: they show what is there, and hostile text stays text."""

import pytest

from tests.devforge import world

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> `{{ 'ab' * 3 }}`"


async def _page(repository: world.Repository, path: str) -> str:
    response = await repository.bot.http.get(path, headers={"Accept": "text/html"})
    assert response.status_code == 200, path
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    return response.text


def _is_harmless(html: str) -> bool:
    return "<script" not in html and "<img" not in html and "&lt;script&gt;" in html


async def test_hostile_text_is_shown_and_never_obeyed(repository: world.Repository) -> None:
    issue = await repository.owner.post(f"{repository.path}/issues", {"title": HOSTILE, "body": HOSTILE})
    hidden = "seen <!-- fettle:key=1 --> [x](javascript:alert(1))"
    await repository.bot.post(f"{repository.path}/issues/{issue['number']}/comments", {"body": hidden})
    await repository.owner.post(f"{repository.path}/issues/{issue['number']}/labels", {"labels": ["<b>"]}, 200)
    base = f"/ada/{repository.name}"
    html = await _page(repository, f"{base}/issues/{issue['number']}")
    assert _is_harmless(html)
    assert "ababab" not in html
    assert "fettle:key" not in html
    assert 'href="javascript' not in html
    assert "&lt;b&gt;" in html
    assert _is_harmless(await _page(repository, f"{base}/issues"))
    await repository.work.branch("hostile", {"<script>.py": f"{HOSTILE}\n"}, message=HOSTILE)
    pull = await repository.pull("hostile", HOSTILE, HOSTILE)
    review = {"event": "COMMENT", "body": HOSTILE}
    await repository.owner.post(f"{repository.path}/pulls/{pull['number']}/reviews", review, 200)
    assert _is_harmless(await _page(repository, f"{base}/pull/{pull['number']}"))
    assert _is_harmless(await _page(repository, f"{base}/pulls"))
    assert _is_harmless(await _page(repository, f"{base}/commit/{pull['head']['sha']}"))
    run = {"name": HOSTILE, "head_sha": pull["head"]["sha"], "conclusion": "success"}
    made = await repository.bot.post(
        f"{repository.path}/check-runs", run | {"output": {"title": "t", "summary": HOSTILE}}
    )
    assert _is_harmless(await _page(repository, made["html_url"]))


async def test_a_pull_request_page_tells_its_story(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"app.py": "one = 1\ntwo = 22\n", "README.md": "# Hello\n\n**bold**"})
    pull = await repository.pull("change", "Make two bigger")
    await repository.status(sha)
    await repository.owner.post(f"{repository.path}/pulls/{pull['number']}/reviews", {"event": "APPROVE"}, 200)
    html = await _page(repository, pull["html_url"])
    for words in ("Make two bigger", '<span class="add">+two = 22', '<span class="del">-two = 2', "approved", "clean"):
        assert words in html
    await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": sha})
    assert "merged this as" in await _page(repository, pull["html_url"])
    front = await _page(repository, f"/ada/{repository.name}")
    assert "<h3>Hello</h3>" in front
    assert "<strong>bold</strong>" in front
    assert repository.name in await _page(repository, "/")
    diff = await repository.bot.http.get(pull["diff_url"])
    assert "+two = 22" in diff.text


@pytest.mark.parametrize("path", ["", "/issues/99", "/pull/99", "/commit/zzz", "/runs/99", "/tree/none/x"])
async def test_what_is_not_there_is_a_page_that_says_so(repository: world.Repository, path: str) -> None:
    base = f"/ada/{repository.name}" if path else "/ada/nothing-here"
    response = await repository.bot.http.get(base + path, headers={"Accept": "text/html"})
    expected = 200 if path.startswith("/tree") else 404
    assert response.status_code == expected
    assert "<h1>Not found</h1>" in response.text or "no commits" in response.text
