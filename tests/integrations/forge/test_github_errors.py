"""Every answer that is no success becomes one typed error that says what to do."""

import email.utils
import time
from datetime import timedelta

import pytest

from domain import errors, forge

LIMIT = {"message": "API rate limit exceeded for user ID 1."}
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
SHA = "a" * 40


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"message": "Problems parsing JSON"}, errors.InvalidRequest),
        (401, {"message": "Bad credentials"}, errors.BadCredentials),
        (403, {"message": "Resource not accessible by integration"}, errors.AccessDenied),
        (404, {"message": "Not Found"}, errors.NotFound),
        (408, {"message": "timeout"}, errors.ForgeUnavailable),
        (410, {"message": "This issue was deleted"}, errors.NotFound),
        (418, {"message": "unheard of"}, errors.InvalidRequest),
        (422, {"message": "Validation Failed"}, errors.InvalidRequest),
        (451, {"message": "Repository access blocked"}, errors.AccessDenied),
        (500, {"message": "Server Error"}, errors.ForgeUnavailable),
        (502, b"<html>Bad Gateway</html>", errors.ForgeUnavailable),
        (503, None, errors.ForgeUnavailable),
        (404, b"<html>a proxy's page</html>", errors.ForgeUnavailable),
        (200, b"<html>a login page</html>", errors.ForgeUnavailable),
        (200, b"[" * 100_000, errors.ForgeUnavailable),
        (200, {"number": "not a number"}, errors.ForgeUnavailable),
        (200, [], errors.ForgeUnavailable),
        (304, None, errors.ForgeUnavailable),
    ],
)
async def test_each_status_has_its_error(script, github_client, repo, status, body, expected):
    script.reply(status, body)
    with pytest.raises(errors.ForgeError) as caught:
        await github_client.issue(repo.issue(7))
    assert type(caught.value) is expected
    assert "acme/api#7" in str(caught.value)
    assert len(script.asked) == 1  # no hidden retry


async def test_a_404_says_that_access_may_be_the_reason_and_what_to_check(script, github_client, repo):
    script.reply(404, {"message": "Not Found"})
    with pytest.raises(errors.NotFound, match=r"acme/api#7.*404.*missing or .*no access.*check the name"):
        await github_client.issue(repo.issue(7))


async def test_the_details_of_a_refusal_are_in_the_message(script, github_client, repo):
    script.reply(422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}, "and\nmore"]})
    with pytest.raises(errors.InvalidRequest, match="Validation Failed; head invalid; and more"):
        await github_client.issue(repo.issue(7))


@pytest.mark.parametrize("status", [403, 429])
async def test_retry_after_is_obeyed(script, github_client, repo, status):
    script.reply(status, SECONDARY, retry_after="17")
    with pytest.raises(errors.RateLimited) as caught:
        await github_client.issue(repo.issue(7))
    assert caught.value.retry_after == timedelta(seconds=17)


async def test_a_limit_that_ends_now_is_still_waited_for(script, github_client, repo):
    script.reply(429, SECONDARY, retry_after="0")
    with pytest.raises(errors.RateLimited) as caught:
        await github_client.issue(repo.issue(7))
    assert caught.value.retry_after == timedelta(seconds=1)


async def test_retry_after_may_be_a_date(script, github_client, repo):
    now = int(time.time())  # both dates are cut to seconds, and only whole ones are cut alike
    dates = {"date": email.utils.formatdate(now), "retry_after": email.utils.formatdate(now + 90)}
    script.reply(503, {"message": "later"}, **dates)
    with pytest.raises(errors.ForgeUnavailable) as caught:
        await github_client.issue(repo.issue(7))
    assert caught.value.retry_after == timedelta(seconds=90)


@pytest.mark.parametrize("status", [403, 429])
async def test_an_exhausted_quota_waits_until_its_reset_by_the_forges_clock(script, github_client, repo, status):
    """A worker whose clock is an hour fast must not ask again at once, nor one that is slow wait for an hour more."""
    forge_now = int(time.time()) - 3600
    script.reply(
        status,
        LIMIT,
        date=email.utils.formatdate(forge_now),
        x_ratelimit_remaining="0",
        x_ratelimit_reset=str(forge_now + 120),
    )
    with pytest.raises(errors.RateLimited) as caught:
        await github_client.issue(repo.issue(7))
    assert caught.value.retry_after == timedelta(seconds=121)


@pytest.mark.parametrize(("status", "body"), [(403, SECONDARY), (429, {"message": "slow"}), (429, b"<html>")])
async def test_a_secondary_limit_without_headers_waits_a_minute(script, github_client, repo, status, body):
    script.reply(status, body)
    with pytest.raises(errors.RateLimited) as caught:
        await github_client.issue(repo.issue(7))
    assert caught.value.retry_after == timedelta(seconds=60)


async def test_a_used_up_quota_on_a_missing_page_is_still_a_missing_page(script, github_client, repo):
    script.reply(404, {"message": "Not Found"}, x_ratelimit_remaining="0", x_ratelimit_reset="1")
    with pytest.raises(errors.NotFound):
        await github_client.issue(repo.issue(7))


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ({"type": "NOT_FOUND", "message": "Could not resolve to a node"}, errors.NotFound),
        ({"type": "FORBIDDEN", "message": "Resource not accessible"}, errors.AccessDenied),
        ({"type": "INSUFFICIENT_SCOPES", "message": "needs repo"}, errors.AccessDenied),
        ({"type": "RATE_LIMITED", "message": "API rate limit exceeded"}, errors.RateLimited),
        ({"type": "UNPROCESSABLE", "message": "Pull request is closed"}, errors.InvalidRequest),
        ({"extensions": {"code": "undefinedField"}, "message": "no such field"}, errors.InvalidRequest),
        ({"message": "Something went wrong while executing your query"}, errors.ForgeUnavailable),
        ("not even an object", errors.ForgeUnavailable),
    ],
)
async def test_graphql_errors_are_typed_although_the_status_is_200(
    script, github_client, repo, pull_json, problem, expected
):
    script.reply(200, pull_json(draft=True))
    script.reply(200, {"data": None, "errors": [problem]})
    pull = _fact(repo)
    with pytest.raises(errors.ForgeError) as caught:
        await github_client.mark_ready(pull)
    assert type(caught.value) is expected
    assert "acme/api#5" in str(caught.value)
    assert script.lines[-1] == "POST /graphql"


async def test_a_graphql_answer_without_data_is_no_success(script, github_client, repo, pull_json):
    script.reply(200, pull_json(draft=True))
    script.reply(200, {"data": None})
    with pytest.raises(errors.ForgeUnavailable, match="neither data nor errors"):
        await github_client.mark_ready(_fact(repo))


def _fact(repo):
    return forge.PullRequest(ref=repo.pull(5), draft=True)
