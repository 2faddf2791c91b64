"""Every call of ours and every answer of the development forge is as GitHub's own description has it.

A forge of ours is evidence only as long as this passes: it keeps the two from agreeing on a mistake.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from domain import forge, policy
from integrations.forge import auth, github, github_api, http, port
from tests.contract import openapi
from tests.integrations.forge.peer import BOT, BOT_TOKEN, Peer, Work

BRANCH = "fettle/issue-1-mend-it"
QUEUE = "fettle/queue/main/2"


class Recorder(http.Transport):
    """Keeps what was sent and what came back. GraphQL and diffs are not in the description."""

    def __init__(self, api_url: str) -> None:
        super().__init__(api_url)
        self.seen: list[openapi.Exchange] = []

    async def send(self, call: http.Call, *, authorization: str, etag: str = "") -> http.Answer:
        answer = await super().send(call, authorization=authorization, etag=etag)
        if call.accept == http.JSON and call.path != "/graphql" and answer.status != 304:
            url = httpx.URL(call.path)
            path = url.raw_path.decode().partition("?")[0]
            query = {name: str(value) for name, value in [*url.params.items(), *call.params.items()]}
            body = json.loads(json.dumps(call.body)) if call.body is not None else None
            self.seen.append(openapi.Exchange(call.method, path, query, body, answer.status, answer.data))
        return answer


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    running = Peer(tmp_path_factory.mktemp("devforge"))
    yield running
    running.stop()


@pytest.fixture
async def recorder(peer: Peer) -> AsyncIterator[Recorder]:
    transport = Recorder(peer.url)
    yield transport
    await transport.aclose()


def _as_app(peer: Peer, transport: Recorder) -> auth.AppAuth:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    app_id = peer.post("/_devforge/apps", slug="fettle-app", public_key=public.decode(), owner="acme")["id"]
    installed = peer.post("/_devforge/installations", app="fettle-app", account="acme")["id"]
    return auth.AppAuth(transport, app_id=app_id, installation_id=installed, private_key=pem.decode())


async def _everything(client: github.GitHub, peer: Peer, work: Work) -> None:
    """One call of each kind that the port makes."""
    issue = peer.issue(work.repo, "It is broken", ["fettle"])
    await client.whoami()
    await client.repository(work.repo)
    await client.ensure_labels(work.repo, [port.Label("done", "0e8a16", "Finished")])
    await client.open_issues(work.repo, label="fettle")
    await client.permission(work.repo, BOT)
    await client.assign(issue, BOT)
    for body in ("one", "two"):
        await client.say(issue, key="status", body=body)
    peer.require(work.repo, checks=[{"context": "unit"}, {"context": "style", "app_id": 1}])
    await client.required_checks(work.repo, "main")
    head = work.push(BRANCH, {"src/app.py": "a = 2\n"})
    for sha in (work.git("rev-parse", "main"), head, work.git("rev-parse", "main")):
        await client.put_branch(work.repo, QUEUE, sha)
    for _ in range(2):
        await client.merge_into(work.repo, QUEUE, head, "Candidate")
    await client.delete_branch(work.repo, QUEUE)
    await client.compare(work.repo, "main", BRANCH)
    await client.tree_sha(work.repo, head)
    for title in ("Mend it", "Mend it well"):
        pull = await client.open_pull_request(
            work.repo, head_branch=BRANCH, base_branch="main", title=title, body="Closes #1", draft=True
        )
    await client.review(pull.ref, key="r", head_sha=head, event=forge.ReviewEvent.COMMENT, body="Right.")
    await client.review(pull.ref, key="r", head_sha=head, event=forge.ReviewEvent.COMMENT, body="Right.")
    await client.mark_ready(pull)
    for name, conclusion in (("unit", "success"), ("lint", None)):
        state: dict[str, Any] = {"status": "completed", "conclusion": conclusion} if conclusion else {}
        run = {"name": name, "head_sha": head, "output": {"title": "t", "summary": "s"}, **state}
        peer.owner.post(f"/repos/{work.repo}/check-runs", json=run).raise_for_status()
    peer.owner.post(f"/repos/{work.repo}/statuses/{head}", json={"context": "deploy", "state": "pending"})
    assert len(await client.checks(work.repo, head)) == 3
    peer.owner.delete(f"/repos/{work.repo}/branches/main/protection").raise_for_status()
    for _ in range(2):
        await client.merge(pull.ref, head_sha=head, method=policy.MergeMethod.SQUASH, title="Mend it (#2)")
    await client.swap_labels(issue, add=["done"], remove=["fettle"])
    peer.owner.patch(f"/repos/{issue.repo}/issues/{issue.number}", json={"state": "open"}).raise_for_status()
    await client.close_issue(issue, completed=False)
    other = peer.issue(work.repo, "Not wanted", [])
    work.push("fettle/issue-3-other", {"src/app.py": "a = 3\n"})
    closed = await client.open_pull_request(
        work.repo, head_branch="fettle/issue-3-other", base_branch="main", title="No", body="", draft=False
    )
    await client.close_pull_request(closed.ref)
    assert not (await client.pull_request(closed.ref)).open
    assert (await client.issue(other)).open


@pytest.mark.parametrize("identity", ["token", "app"])
async def test_requests_and_answers_are_as_described(github_description, peer, tmp_path, recorder, identity):
    work = peer.repository(f"sample-{identity}", tmp_path / "work", {"README.md": "# S\n", "src/app.py": "a = 1\n"})
    who = auth.TokenAuth(recorder, BOT_TOKEN) if identity == "token" else _as_app(peer, recorder)
    await _everything(github.GitHub(github_api.Api(recorder, who), git_url=peer.url), peer, work)
    assert len(recorder.seen) >= 45
    problems = {problem for exchange in recorder.seen for problem in github_description.problems(exchange)}
    assert sorted(problems) == []
