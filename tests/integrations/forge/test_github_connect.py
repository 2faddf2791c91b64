"""Settings name one forge and one identity, or are refused in words."""

import pydantic
import pytest

from domain import errors, forge, refs
from integrations.forge import connect

APP = {"app_id": 1, "installation_id": 2, "private_key": "pem"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no identity"),
        ({"token": ""}, "token is empty"),
        ({"token": "t", **APP}, "name two identities"),
        ({"app_id": 1, "private_key": "pem"}, "missing: installation_id"),
        ({**APP, "private_key_file": "key.pem"}, "keep one of them"),
        ({"token": "t", "api_url": "api.github.com"}, "expected http"),
        ({"token": "t", "api_url": "https://me:secret@api.github.com"}, "must not carry credentials"),
        ({"token": "t", "tokn": "t"}, "Extra inputs"),
        ({"token": "t", "kind": "sourceforge"}, "github"),
    ],
)
def test_contradictory_settings_are_refused_and_named(given, message):
    with pytest.raises(pydantic.ValidationError, match=message) as caught:
        connect.ForgeSettings.model_validate(given)
    assert "secret" not in str(caught.value)


def test_settings_do_not_show_their_secrets():
    assert "t0ken" not in repr(connect.ForgeSettings(token="t0ken"))


@pytest.mark.parametrize(
    ("api_url", "git_url", "expected"),
    [
        ("https://api.github.com", "", "https://github.com/acme/api.git"),
        ("https://ghes.example.com/api/v3/", "", "https://ghes.example.com/acme/api.git"),
        ("https://api.acme.ghe.com", "", "https://acme.ghe.com/acme/api.git"),
        ("http://127.0.0.1:7000", "", "http://127.0.0.1:7000/acme/api.git"),
        ("http://forge:7000/api", "http://forge:7000/git/", "http://forge:7000/git/acme/api.git"),
    ],
)
async def test_repositories_are_cloned_from_beside_the_api(api_url, git_url, expected):
    adapter = connect.open_forge(connect.ForgeSettings(api_url=api_url, git_url=git_url, token="t"))
    assert adapter.clone_url(refs.Repository(owner="acme", name="api")) == expected
    await adapter.aclose()


def test_a_key_file_that_is_missing_is_named(tmp_path):
    settings = connect.ForgeSettings(app_id=1, installation_id=2, private_key_file=tmp_path / "key.pem")
    with pytest.raises(errors.ConfigurationError, match=r"key\.pem \(FileNotFoundError\)"):
        connect.open_forge(settings)


async def test_enterprise_server_has_graphql_beside_its_rest_root(script, pull_json, repo):
    adapter = connect.open_forge(connect.ForgeSettings(api_url=f"{script.url}/api/v3", token="t"))
    script.reply(200, pull_json(draft=True))
    script.reply(200, {"data": {"markPullRequestReadyForReview": {"pullRequest": {"isDraft": False}}}})
    await adapter.mark_ready(forge.PullRequest(ref=repo.pull(5), draft=True))
    assert script.lines == ["GET /api/v3/repos/acme/api/pulls/5", "POST /api/graphql"]
    await adapter.aclose()
