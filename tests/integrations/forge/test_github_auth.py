"""Identities: a plain token, and an app whose tokens are narrow, reused, renewed and given up."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from domain import errors, refs
from integrations.forge import auth, github, github_api, http

ISSUE = {"number": 7}
OTHER = refs.Repository(owner="acme", name="web")


@dataclass
class Clock:
    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(script, key, clock) -> AsyncIterator[github.GitHub]:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    transport = http.Transport(script.url, clock=clock)
    identity = auth.AppAuth(transport, app_id=12, installation_id=34, private_key=pem, clock=clock)
    adapter = github.GitHub(github_api.Api(transport, identity), git_url=script.url)
    yield adapter
    await adapter.aclose()


def minted(token: str, clock: Clock, seconds: float = 3600) -> dict[str, object]:
    expires = datetime.fromtimestamp(clock.now + seconds, UTC).isoformat().replace("+00:00", "Z")
    return {"token": token, "expires_at": expires, "permissions": {"contents": "write"}, "new": 1}


async def test_a_token_is_minted_with_a_short_assertion_and_narrowed_to_the_repository(script, app, key, clock, repo):
    script.reply(201, minted("ghs_1", clock))
    script.reply(200, ISSUE)
    await app.issue(repo.issue(7))
    mint, read = script.asked
    assert (mint.method, mint.path) == ("POST", "/app/installations/34/access_tokens")
    assert mint.body["repositories"] == ["api"]
    assert mint.body["permissions"]["contents"] == "write"
    assert "administration" not in mint.body["permissions"]
    claims = jwt.decode(
        mint.headers["authorization"].removeprefix("Bearer "),
        key.public_key(),
        algorithms=["RS256"],
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["iss"] == "12"
    assert claims["iat"] == int(clock.now) - 60
    assert claims["exp"] - clock.now < 600
    assert read.headers["authorization"] == "Bearer ghs_1"


async def test_a_token_is_used_until_five_minutes_before_its_end(script, app, clock, repo):
    script.reply(201, minted("ghs_1", clock))
    script.reply(200, ISSUE)
    script.reply(200, ISSUE)
    script.reply(201, minted("ghs_2", clock, 7200))
    script.reply(200, ISSUE)
    await app.issue(repo.issue(7))
    clock.now += 3299
    await app.issue(repo.issue(7))
    clock.now += 2
    await app.issue(repo.issue(7))
    bearers = [r.headers["authorization"] for r in script.asked if r.method == "GET"]
    assert bearers == ["Bearer ghs_1", "Bearer ghs_1", "Bearer ghs_2"]


async def test_each_repository_and_the_push_have_tokens_of_their_own(script, app, clock, repo):
    script.reply(201, minted("ghs_api", clock))
    script.reply(200, ISSUE)
    script.reply(201, minted("ghs_web", clock))
    script.reply(200, ISSUE)
    script.reply(201, minted("ghs_push", clock))
    await app.issue(repo.issue(7))
    await app.issue(OTHER.issue(7))
    first = await app.push_credentials(repo)
    again = await app.push_credentials(repo)
    assert first == again
    assert (first.username, first.token) == ("x-access-token", "ghs_push")
    assert first.expires_at is not None
    assert [r.body["repositories"] for r in script.asked if r.method == "POST"] == [["api"], ["web"], ["api"]]
    assert script.asked[-1].body["permissions"] == {"contents": "write", "metadata": "read"}
    assert "ghs_push" not in repr(first)


async def test_a_token_that_expired_mid_run_is_replaced_on_the_next_try(script, app, clock, repo):
    script.reply(201, minted("ghs_1", clock))
    script.reply(401, {"message": "Bad credentials"})
    script.reply(201, minted("ghs_2", clock))
    script.reply(200, ISSUE)
    with pytest.raises(errors.ForgeUnavailable, match=r"installation 34 of GitHub App 12.*the same call again"):
        await app.issue(repo.issue(7))
    assert (await app.issue(repo.issue(7))).ref == repo.issue(7)
    assert script.asked[-1].headers["authorization"] == "Bearer ghs_2"


async def test_a_new_token_that_is_refused_as_well_is_a_matter_for_a_person(script, app, clock, repo):
    for token in ("ghs_1", "ghs_2"):
        script.reply(201, minted(token, clock))
        script.reply(401, {"message": "Bad credentials"})
    with pytest.raises(errors.ForgeUnavailable):
        await app.issue(repo.issue(7))
    with pytest.raises(errors.BadCredentials) as caught:
        await app.issue(repo.issue(7))
    assert caught.value.__cause__ is not caught.value


async def test_an_app_that_is_not_known_is_bad_credentials(script, app, repo):
    script.reply(401, {"message": "A JSON web token could not be decoded"})
    with pytest.raises(errors.BadCredentials, match="get a token for acme/api from installation 34 of GitHub App 12"):
        await app.issue(repo.issue(7))


async def test_an_app_that_is_not_installed_is_not_found(script, app, repo):
    script.reply(404, {"message": "Not Found"})
    with pytest.raises(errors.NotFound, match="installation"):
        await app.issue(repo.issue(7))


async def test_an_app_comments_under_its_bot_login(script, app):
    script.reply(200, {"slug": "fettle-ci"})
    assert await app.whoami() == "fettle-ci[bot]"
    assert await app.whoami() == "fettle-ci[bot]"
    assert script.lines == ["GET /app"]


async def test_an_app_may_push_where_it_got_a_token_to_write(script, app, clock, repo):
    script.reply(201, minted("ghs_1", clock))
    script.reply(200, {"default_branch": "trunk", "permissions": {"push": False}})
    facts = await app.repository(repo)
    assert facts.can_push
    assert facts.default_branch == "trunk"


async def test_a_garbled_mint_never_shows_the_token(script, app, repo):
    script.reply(201, {"token": "ghs_secret", "expires_at": "tomorrow"})
    with pytest.raises(errors.ForgeUnavailable, match="expires_at") as caught:
        await app.issue(repo.issue(7))
    assert "ghs_secret" not in str(caught.value)


async def test_a_refused_personal_token_is_bad_credentials_at_once(script, github_client, repo):
    script.reply(401, {"message": "Bad credentials"})
    with pytest.raises(errors.BadCredentials, match="set a valid token"):
        await github_client.issue(repo.issue(7))


async def test_a_personal_token_pushes_as_itself(github_client, repo):
    credentials = await github_client.push_credentials(repo)
    assert (credentials.username, credentials.token) == ("x-access-token", "ghp_scripted_token")
    assert credentials.expires_at is None


@pytest.mark.parametrize(
    ("push", "archived", "expected"), [(True, False, True), (False, False, False), (True, True, False)]
)
async def test_a_personal_token_may_push_where_the_forge_says_so(script, github_client, repo, push, archived, expected):
    script.reply(200, {"default_branch": "main", "archived": archived, "permissions": {"push": push}})
    assert (await github_client.repository(repo)).can_push is expected


async def test_the_private_key_must_be_one(script):
    transport = http.Transport(script.url)
    with pytest.raises(errors.ConfigurationError, match=r"GitHub App 12 cannot be read.*\.pem"):
        auth.AppAuth(transport, app_id=12, installation_id=34, private_key="not a key")
    await transport.aclose()
