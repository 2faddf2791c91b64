"""Issues, comments, labels, and the pages of a list."""

import re

from tests.devforge import world


async def test_an_issue_lives_from_opened_to_reopened(repository: world.Repository, listener: world.Listener) -> None:
    await repository.listen(listener, "issues", "issue_comment")
    path = f"{repository.path}/issues"
    wanted = {"title": "It breaks", "body": "Always", "labels": ["bug"], "assignees": ["bot"]}
    issue = await repository.owner.post(path, wanted)
    assert [label["name"] for label in issue["labels"]] == ["bug"]
    assert [user["login"] for user in issue["assignees"]] == ["bot"]
    one = f"{path}/{issue['number']}"
    assert await repository.owner.post(f"{one}/labels", {"labels": ["fettle", "bug"]}, 200)
    await repository.owner.call("DELETE", f"{one}/labels/bug")
    await repository.owner.call("DELETE", f"{one}/labels/bug", 404)
    comment = await repository.bot.post(f"{one}/comments", {"body": "I look"})
    assert (await repository.bot.patch(f"{path}/comments/{comment['id']}", {"body": "I looked"}))["body"] == "I looked"
    closed = await repository.owner.patch(one, {"state": "closed", "state_reason": "not_planned"})
    assert (closed["state_reason"], closed["closed_by"]["login"], closed["comments"]) == ("not_planned", "ada", 1)
    assert (await repository.owner.patch(one, {"state": "open", "title": "New"}))["state_reason"] == "reopened"
    await repository.bot.delete(f"{path}/comments/{comment['id']}")
    got = await listener.has("issue_comment.deleted")
    assert [item.kind for item in got if item.event != "ping"] == [
        "issues.opened",
        "issues.labeled",
        "issues.assigned",
        "issues.labeled",
        "issues.unlabeled",
        "issue_comment.created",
        "issue_comment.edited",
        "issues.closed",
        "issues.edited",
        "issues.reopened",
        "issue_comment.deleted",
    ]


async def test_lists_contain_pull_requests_and_obey_their_filters(repository: world.Repository) -> None:
    path = f"{repository.path}/issues"
    for number in range(3):
        labels = ["bug", "ui"] if number == 1 else ["bug"]
        await repository.owner.post(path, {"title": f"Issue {number}", "labels": labels})
    await repository.work.branch("change", {"new.py": ""})
    pull = await repository.pull("change")
    await repository.owner.patch(f"{path}/1", {"state": "closed"})
    everything = await repository.bot.get(f"{path}?state=all&sort=created&direction=asc")
    assert [item["number"] for item in everything] == [1, 2, 3, pull["number"]]
    assert [item["number"] for item in everything if "pull_request" in item] == [pull["number"]]
    assert [item["number"] for item in await repository.bot.get(f"{path}?labels=bug,UI")] == [2]
    assert [item["number"] for item in await repository.bot.get(f"{path}?state=closed")] == [1]
    assert await repository.bot.get(f"{path}?since=2999-01-01T00:00:00Z") == []
    assert len(await repository.bot.get(f"{path}?state=all&since=2001-01-01T00:00:00%2B00:00")) == 4
    await repository.bot.get(f"{path}?state=sideways", 422)


async def test_pages_are_linked_to_the_end(repository: world.Repository) -> None:
    path = f"{repository.path}/issues"
    for number in range(7):
        await repository.owner.post(path, {"title": f"Issue {number}"})
    url, seen = f"{path}?per_page=3&state=all", []
    for _ in range(3):
        response = await repository.bot.http.get(url)
        seen += [item["number"] for item in response.json()]
        links = {rel: link for link, rel in re.findall(r'<([^>]+)>; rel="(\w+)"', response.headers.get("link", ""))}
        url = links.get("next", "")
    assert (seen, url) == ([7, 6, 5, 4, 3, 2, 1], "")
    assert {"prev", "first"} == set(links)
    assert "link" not in (await repository.bot.http.get(f"{path}?state=all")).headers


async def test_bad_requests_are_refused_in_githubs_shape(repository: world.Repository) -> None:
    path = f"{repository.path}/issues"
    missing = await repository.owner.post(path, {"body": "no title"}, 422)
    assert missing["message"] == "Validation Failed"
    assert missing["errors"] == [{"resource": "Issue", "field": "title", "code": "missing_field"}]
    broken = await repository.owner.http.post(path, content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["message"]) == (400, "Problems parsing JSON")
    absent = await repository.owner.get(f"{path}/999", 404)
    assert (absent["message"], absent["status"]) == ("Not Found", "404")
    await repository.owner.get("/repos/ada/nothing-here", 404)
    await repository.owner.get("/nowhere/at/all/else", 404)
    label = {"name": "bug", "color": "ff0000"}
    await repository.owner.post(f"{repository.path}/labels", label)
    twice = await repository.owner.post(f"{repository.path}/labels", label | {"name": "BUG"}, 422)
    assert twice["errors"][0]["code"] == "already_exists"


async def test_an_unchanged_answer_is_304(repository: world.Repository) -> None:
    path = f"{repository.path}/issues"
    first = await repository.bot.http.get(path)
    again = await repository.bot.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await repository.owner.post(path, {"title": "News"})
    changed = await repository.bot.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert int(changed.headers["x-ratelimit-remaining"]) < int(first.headers["x-ratelimit-remaining"])
