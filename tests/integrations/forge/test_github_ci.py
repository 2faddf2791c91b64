"""A check passes by a word we know, and a required one by its own app."""

import pytest

from domain import errors, forge

HEAD = "a" * 40


def run(number: int, name: str, status: str = "completed", conclusion: str | None = "success", app: int = 1):
    return {"id": number, "name": name, "status": status, "conclusion": conclusion, "app": {"id": app}, "output": None}


async def test_every_page_of_check_runs_and_statuses_counts(script, github_client, repo):
    script.reply(200, {"check_runs": [run(1, "lint")]}, link=f'<{script.url}/page/2>; rel="next"')
    script.reply(200, {"check_runs": [run(2, "unit", conclusion="failure")]})
    script.reply(200, {"statuses": [{"context": "deploy", "state": "pending"}]})
    found = {check.name: check.state for check in await github_client.checks(repo, HEAD)}
    assert found == {
        "lint": forge.CheckState.SUCCESS,
        "unit": forge.CheckState.FAILURE,
        "deploy": forge.CheckState.PENDING,
    }
    assert "filter=latest" in script.asked[0].path


@pytest.mark.parametrize(
    ("status", "conclusion", "expected"),
    [
        ("queued", None, forge.CheckState.PENDING),
        ("waiting", None, forge.CheckState.PENDING),
        ("invented_later", "success", forge.CheckState.PENDING),
        ("completed", "success", forge.CheckState.SUCCESS),
        ("completed", "neutral", forge.CheckState.NEUTRAL),
        ("completed", "skipped", forge.CheckState.SKIPPED),
        ("completed", "cancelled", forge.CheckState.FAILURE),
        ("completed", "timed_out", forge.CheckState.FAILURE),
        ("completed", "action_required", forge.CheckState.FAILURE),
        ("completed", "stale", forge.CheckState.FAILURE),
        ("completed", "startup_failure", forge.CheckState.FAILURE),
        ("completed", "invented_later", forge.CheckState.FAILURE),
        ("completed", None, forge.CheckState.FAILURE),
    ],
)
async def test_a_check_passes_only_by_a_word_we_know(script, github_client, repo, status, conclusion, expected):
    script.reply(200, {"check_runs": [run(1, "unit", status, conclusion)]})
    script.reply(200, {"statuses": []})
    (check,) = await github_client.checks(repo, HEAD)
    assert check.state is expected


async def test_the_newest_run_of_a_name_counts_and_another_apps_run_stays_apart(script, github_client, repo):
    runs = [run(8, "unit"), run(3, "unit", conclusion="failure"), run(5, "unit", conclusion="failure", app=2)]
    script.reply(200, {"check_runs": runs})
    script.reply(200, {"statuses": [{"context": "unit", "state": "weird"}]})
    found = [(check.app_id, check.state) for check in await github_client.checks(repo, HEAD)]
    assert found == [
        (None, forge.CheckState.PENDING),
        (1, forge.CheckState.SUCCESS),
        (2, forge.CheckState.FAILURE),
    ]


async def test_checks_that_cannot_be_read_are_never_no_checks(script, github_client, repo):
    script.reply(403, {"message": "Resource not accessible by personal access token"})
    with pytest.raises(errors.AccessDenied):
        await github_client.checks(repo, HEAD)


async def test_required_checks_come_from_rulesets_and_classic_protection(script, github_client, repo):
    parameters = {"required_status_checks": [{"context": "unit", "integration_id": 15368}, {"context": "lint"}]}
    rules = [{"type": "required_status_checks", "parameters": parameters}, {"type": "deletion"}, {"type": "new_rule"}]
    script.reply(200, rules)
    classic = {"contexts": ["lint", "docs"], "checks": [{"context": "lint", "app_id": -1}]}
    script.reply(200, {"required_status_checks": classic})
    found = await github_client.required_checks(repo, "release/1.0")
    assert {(check.name, check.app_id) for check in found} == {("docs", None), ("lint", None), ("unit", 15368)}
    assert "release%2F1.0" in script.asked[0].path


async def test_required_checks_are_read_from_the_branch_when_protection_is_for_administrators(
    script, github_client, repo
):
    script.reply(200, [])
    script.reply(403, {"message": "Resource not accessible by integration"})
    checks = {"contexts": ["unit"], "checks": [{"context": "unit", "app_id": 7}]}
    script.reply(200, {"name": "main", "protection": {"enabled": True, "required_status_checks": checks}})
    assert await github_client.required_checks(repo, "main") == [forge.RequiredCheck(name="unit", app_id=7)]


async def test_nothing_is_required_where_nothing_may_be_read(script, github_client, repo):
    for status in (403, 404, 404):
        script.reply(status, {"message": "no"})
    assert await github_client.required_checks(repo, "main") == []
