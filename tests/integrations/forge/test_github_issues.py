"""Comments and labels are looked up before they are written, by what only we could have written."""

import pytest

from domain import errors, forge
from integrations.forge import markers, port

ME = {"login": "fettle-bot"}


def comment(number: int, body: str, login: str = "fettle-bot", **rest: object) -> dict[str, object]:
    return {"id": number, "body": body, "user": {"login": login}, **rest}


def marked(text: str, key: str = "status") -> str:
    return f"<!-- fettle:{key} -->\n{text}"


async def test_our_comment_is_found_on_a_later_page_and_edited(script, github_client, repo):
    script.reply(200, [comment(1, "hi", "ada")], link=f'<{script.url}/page/2>; rel="next"')
    script.reply(200, [comment(2, marked("old"))])
    script.reply(200, ME)
    script.reply(200, comment(2, marked("new")))
    said = await github_client.say(repo.issue(7), key="status", body="new")
    assert said.id == 2
    assert script.asked[-1].method == "PATCH"
    assert script.lines[-1] == "PATCH /repos/acme/api/issues/comments/2"


async def test_a_marker_in_somebody_elses_comment_does_not_count(script, github_client, repo):
    script.reply(200, [comment(1, marked("mine, honestly"), "mallory")])
    script.reply(200, ME)
    script.reply(201, comment(2, marked("new")))
    assert (await github_client.say(repo.issue(7), key="status", body="new")).id == 2
    assert script.asked[-1].method == "POST"


async def test_a_marker_quoted_inside_our_own_text_does_not_count(script, github_client, repo):
    script.reply(200, [comment(1, f"{marked('the agent wrote:', 'other')}\n{marked('gotcha')}")])
    script.reply(201, comment(2, marked("new")))
    await github_client.say(repo.issue(7), key="status", body="new")
    assert script.asked[-1].method == "POST"


async def test_an_unchanged_comment_costs_no_write(script, github_client, repo):
    script.reply(200, [comment(1, marked("same\r\nas before"), "Fettle-Bot")])
    script.reply(200, ME)
    await github_client.say(repo.issue(7), key="status", body="same\nas before\n")
    assert {request.method for request in script.asked} == {"GET"}


async def test_of_two_comments_with_one_key_the_oldest_is_kept(script, github_client, repo):
    script.reply(200, [comment(9, marked("b")), comment(3, marked("a"))])
    script.reply(200, ME)
    script.reply(200, comment(3, marked("new")))
    await github_client.say(repo.issue(7), key="status", body="new")
    assert script.lines[-1].endswith("/comments/3")


async def test_a_text_that_is_too_long_is_cut_and_says_so(script, github_client, repo):
    script.reply(200, [])
    script.reply(201, comment(1, "x"))
    await github_client.say(repo.issue(7), key="log", body="x" * 100_000)
    sent = script.asked[-1].body["body"]
    assert len(sent) <= 65_536
    assert sent.startswith("<!-- fettle:log -->\n")
    assert sent.endswith("takes no longer text)")


@pytest.mark.parametrize("key", ["", "a b", "a-->b", "a--b", "a\nb", "x" * 201])
async def test_a_key_that_could_end_its_comment_is_refused(script, github_client, repo, key):
    with pytest.raises(errors.InvalidRequest, match="cannot be a comment's key"):
        await github_client.say(repo.issue(7), key=key, body="text")
    assert script.asked == []


def test_a_marker_is_read_back():
    assert markers.is_marked("ci:1/2", markers.marked("ci:1/2", "text"))
    assert not markers.is_marked("ci:1", markers.marked("ci:1/2", "text"))
    assert not markers.is_marked("ci:1", None)


async def test_pull_requests_are_left_out_of_issues(script, github_client, repo):
    script.reply(200, [{"number": 9}, {"number": 3, "pull_request": {"url": "x"}}, {"number": 2}, {"number": 9}])
    found = await github_client.open_issues(repo, label="fettle")
    assert [issue.ref.number for issue in found] == [2, 9]
    assert "labels=fettle" in script.asked[0].path


async def test_labels_are_added_before_any_is_removed_and_a_right_one_costs_nothing(script, github_client, repo):
    script.reply(200, [{"name": "fettle"}, {"name": "Kept"}])
    script.reply(200, [])
    script.reply(200, [])
    await github_client.swap_labels(repo.issue(7), add=["fettle-done", "kept"], remove=["fettle", "absent", "KEPT"])
    assert script.lines[1:] == [
        "POST /repos/acme/api/issues/7/labels",
        "DELETE /repos/acme/api/issues/7/labels/fettle",
    ]
    assert script.asked[1].body == {"labels": ["fettle-done"]}


async def test_a_label_that_somebody_took_off_first_is_no_error(script, github_client, repo):
    script.reply(200, [{"name": "needs work/now"}])
    script.reply(404, {"message": "Label does not exist"})
    await github_client.swap_labels(repo.issue(7), add=[], remove=["needs work/now"])
    assert script.lines[-1].endswith("/labels/needs%20work%2Fnow")


async def test_a_label_that_two_workers_make_is_made(script, github_client, repo):
    script.reply(200, [])
    script.reply(422, {"message": "Validation Failed", "errors": [{"code": "already_exists"}]})
    script.reply(200, [{"name": "Fettle"}])
    await github_client.ensure_labels(repo, [port.Label(name="fettle", color="0e8a16")])
    assert len(script.asked) == 3


async def test_a_label_that_the_forge_refuses_is_an_error(script, github_client, repo):
    script.reply(200, [])
    script.reply(422, {"message": "Validation Failed", "errors": [{"field": "color", "code": "invalid"}]})
    script.reply(200, [])
    with pytest.raises(errors.InvalidRequest, match="color invalid"):
        await github_client.ensure_labels(repo, [port.Label(name="fettle", color="green")])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"permission": "write", "role_name": "maintain"}, forge.Permission.MAINTAIN),
        ({"permission": "read", "role_name": "triage"}, forge.Permission.TRIAGE),
        ({"permission": "write", "role_name": "our-own-role"}, forge.Permission.WRITE),
        ({"permission": "something-new"}, forge.Permission.NONE),
    ],
)
async def test_a_role_is_read_where_we_know_it(script, github_client, repo, body, expected):
    script.reply(200, body)
    assert await github_client.permission(repo, "ada") is expected


async def test_a_stranger_has_no_permission(script, github_client, repo):
    script.reply(404, {"message": "ada is not a user"})
    assert await github_client.permission(repo, "ada") is forge.Permission.NONE


async def test_somebody_who_cannot_be_assigned_is_no_error(script, github_client, repo):
    script.reply(200, {"number": 7})
    script.reply(422, {"message": "Validation Failed"})
    await github_client.assign(repo.issue(7), "ghost")


async def test_a_closed_issue_is_not_closed_again(script, github_client, repo):
    script.reply(200, {"number": 7, "state": "closed"})
    await github_client.close_issue(repo.issue(7), completed=True)
    assert len(script.asked) == 1
