"""Who may do what: personal tokens, and apps with narrowed installation tokens."""

import itertools
import time
from dataclasses import dataclass

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.devforge import world

_numbers = itertools.count(1)


@dataclass
class App:
    """A registered app with its private key."""

    id: int
    slug: str
    key: rsa.RSAPrivateKey
    installation: int

    def token(self, **claims: object) -> str:
        """A JSON web token of the app."""
        now = int(time.time())
        return jwt.encode({"iat": now - 60, "exp": now + 500, "iss": str(self.id), **claims}, self.key, "RS256")


@pytest.fixture
async def app(repository: world.Repository, listener: world.Listener) -> App:
    """An app installed on the one repository of this test, with a webhook."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    slug, account = f"robot{next(_numbers)}", f"holder{next(_numbers)}"
    await repository.admin.post("/_devforge/users", {"login": account})
    await repository.admin.post(f"/orgs/{account}/repos", {"name": "first", "auto_init": True})
    await repository.admin.post(f"/orgs/{account}/repos", {"name": "second", "private": True, "auto_init": True})
    hook = {"url": listener.url, "secret": listener.secret}
    made = await repository.admin.post(
        "/_devforge/apps", {"slug": slug, "owner": account, "public_key": public.decode(), "webhook": hook}
    )
    installed = await repository.admin.post("/_devforge/installations", {"app": slug, "account": account})
    return App(made["id"], slug, key, installed["id"])


async def test_an_app_exchanges_its_jwt_for_a_narrowed_token(
    repository: world.Repository, app: App, listener: world.Listener
) -> None:
    as_app = repository.server.client(app.token())
    assert (await as_app.get("/app"))["slug"] == app.slug
    (installed,) = await as_app.get("/app/installations")
    account = installed["account"]["login"]
    path = f"/app/installations/{app.installation}/access_tokens"
    wide = await as_app.post(path)
    assert (wide["permissions"]["issues"], wide["repository_selection"]) == ("write", "all")
    wanted = {"repositories": ["first"], "permissions": {"issues": "write"}}
    narrow = await as_app.post(path, wanted)
    assert [repo["name"] for repo in narrow["repositories"]] == ["first"]
    await as_app.post(path, {"repositories": ["missing"]}, 422)
    await as_app.post(path, {"permissions": {"administration": "write"}}, 422)
    bot = repository.server.client(narrow["token"])
    assert (await bot.get("/installation/repositories"))["total_count"] == 1
    issue = await bot.post(f"/repos/{account}/first/issues", {"title": "By the app"})
    assert (issue["user"]["login"], issue["user"]["type"]) == (f"{app.slug}[bot]", "Bot")
    await bot.get(f"/repos/{account}/second", 404)
    sha = (await bot.get(f"/repos/{account}/first/branches/main"))["commit"]["sha"]
    await bot.post(f"/repos/{account}/first/statuses/{sha}", {"state": "success"}, 403)
    await bot.post(f"{repository.path}/issues", {"title": "Not installed here"}, 403)
    await bot.get("/user", 403)
    all_bot = repository.server.client(wide["token"])
    run = {"name": "tests", "head_sha": sha, "conclusion": "success"}
    assert (await all_bot.post(f"/repos/{account}/second/check-runs", run, 422))["message"].startswith("No commit")
    assert (await all_bot.post(f"/repos/{account}/first/check-runs", run))["app"]["slug"] == app.slug
    got = await listener.has("check_suite.completed")
    assert got[0].payload["installation"]["id"] == app.installation
    for client in (as_app, bot, all_bot):
        await client.http.aclose()


async def test_the_app_lists_and_repeats_its_deliveries(
    repository: world.Repository, app: App, listener: world.Listener
) -> None:
    as_app = repository.server.client(app.token())
    account = (await as_app.get("/app/installations"))[0]["account"]["login"]
    await repository.admin.post("/_devforge/faults", {"kind": "webhook_drop", "events": ["issues"]})
    issue = await repository.admin.post(f"/repos/{account}/first/issues", {"title": "lost"})
    (failure,) = await as_app.get("/app/hook/deliveries?status=failure")
    assert (failure["event"], failure["installation_id"]) == ("issues", app.installation)
    await as_app.post(f"/app/hook/deliveries/{failure['id']}/attempts", status=202)
    got = await listener.has("issues.opened")
    assert (got[-1].guid, got[-1].payload["issue"]["id"]) == (failure["guid"], issue["id"])
    await repository.bot.get("/app/hook/deliveries", 401)
    await as_app.http.aclose()


async def test_expired_and_forged_credentials_are_refused(repository: world.Repository, app: App) -> None:
    path = f"/app/installations/{app.installation}/access_tokens"
    stranger = App(app.id, app.slug, rsa.generate_private_key(public_exponent=65537, key_size=2048), 0)
    now = int(time.time())
    refused = [app.token(exp=now - 30), app.token(exp=now + 4000), app.token(iss="999"), stranger.token(), "a.b.c"]
    for token in refused:
        async with repository.server.client(token).http as caller:
            assert (await caller.post(path)).status_code == 401
    as_app = repository.server.client(app.token())
    token = (await as_app.post(path))["token"]
    bot = repository.server.client(token)
    await bot.get("/installation/repositories")
    await repository.admin.post("/_devforge/faults", {"kind": "expire_tokens"})
    assert (await bot.get("/installation/repositories", 401))["message"] == "Bad credentials"
    fresh = repository.server.client((await as_app.post(path))["token"])
    await fresh.get("/installation/repositories")
    for client in (as_app, bot, fresh):
        await client.http.aclose()


async def test_strangers_read_public_repositories_and_nothing_else(repository: world.Repository) -> None:
    await repository.admin.post("/_devforge/users", {"login": "eve", "token": "token-of-eve"})
    eve, nobody = repository.server.client("token-of-eve"), repository.server.client()
    for caller in (eve, nobody):
        await caller.get(repository.path)
    issue = await eve.post(f"{repository.path}/issues", {"title": "Anybody may report", "labels": ["bug"]})
    assert issue["labels"] == []
    await eve.post(f"{repository.path}/issues/{issue['number']}/labels", {"labels": ["bug"]}, 403)
    await nobody.post(f"{repository.path}/issues", {"title": "Who?"}, 401)
    await repository.owner.patch(repository.path, {"private": True})
    for caller in (eve, nobody):
        await caller.get(repository.path, 404)
    page = await nobody.http.get(f"/ada/{repository.name}")
    assert page.status_code == 404
    levels = {
        login: (await repository.owner.get(f"{repository.path}/collaborators/{login}/permission"))["permission"]
        for login in ("ada", "bot", "eve")
    }
    assert levels == {"ada": "admin", "bot": "write", "eve": "none"}
    for client in (eve, nobody):
        await client.http.aclose()


async def test_both_authorization_schemes_work_and_a_wrong_token_does_not(repository: world.Repository) -> None:
    async with repository.server.client().http as http:
        for value in ("Bearer token-of-bot", "token token-of-bot"):
            assert (await http.get("/user", headers={"Authorization": value})).json()["login"] == "bot"
        for value in ("Bearer wrong", "Basic ???", "Digest x"):
            assert (await http.get("/user", headers={"Authorization": value})).status_code == 401
        limits = (await http.get("/rate_limit", headers={"Authorization": "token token-of-bot"})).json()
        assert limits["resources"]["core"]["remaining"] < limits["resources"]["core"]["limit"]
