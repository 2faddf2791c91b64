"""Two forges over real HTTP: one that answers what a test tells it to, and the development forge on real git."""

import collections
import contextlib
import http.server
import json
import queue
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from domain import refs
from integrations.forge import connect, github
from tests.integrations.forge.peer import BOT_TOKEN, Peer, Work

TOKEN = "ghp_scripted_token"
HEAD = "a" * 40
BASE = "b" * 40


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes


@dataclass(frozen=True)
class Reply:
    status: int
    raw: bytes
    headers: dict[str, str]


@dataclass
class ScriptedForge:
    """Answers are taken in the order they were queued; a request too many is answered 599 and fails the test."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    replies: collections.deque[Reply] = field(default_factory=collections.deque)
    received: queue.SimpleQueue[Asked] = field(default_factory=queue.SimpleQueue)
    """The same as `asked`, to wait for."""

    def reply(self, status: int, body: Any = None, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.replies.append(Reply(status, raw, {k.replace("_", "-"): v for k, v in headers.items()}))

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.path.partition('?')[0]}" for request in self.asked]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    script: ScriptedForge


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def _serve(self) -> None:
        script = self.server.script
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else None, raw)
        script.asked.append(asked)
        script.received.put(asked)
        reply = script.replies.popleft() if script.replies else Reply(599, b'{"message": "not in the script"}', {})
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.raw)))
        self.end_headers()
        self.wfile.write(reply.raw)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """The test's own output is enough."""


@pytest.fixture
def script() -> Iterator[ScriptedForge]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.script = ScriptedForge(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server.script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def github_client(script: ScriptedForge) -> AsyncIterator[github.GitHub]:
    adapter = connect.open_forge(connect.ForgeSettings(api_url=script.url, token=TOKEN))
    yield adapter
    await adapter.aclose()


@pytest.fixture
def repo() -> refs.Repository:
    return refs.Repository(owner="acme", name="api")


@pytest.fixture
def pull_json() -> Callable[..., dict[str, Any]]:
    """A pull request as GitHub answers it, changed where a test says so."""

    def make(**changes: Any) -> dict[str, Any]:
        home = {"id": 1, "full_name": "acme/api"}
        made: dict[str, Any] = {
            "number": 5,
            "node_id": "PR_5",
            "title": "Fix it",
            "body": "Because.",
            "state": "open",
            "user": {"login": "fettle-bot"},
            "head": {"ref": "fettle/issue-7-fix-it", "sha": HEAD, "repo": home},
            "base": {"ref": "main", "sha": BASE, "repo": home},
            "draft": False,
            "merged": False,
            "merged_at": None,
            "mergeable": True,
            "merge_commit_sha": None,
            "html_url": "http://forge/acme/api/pull/5",
            "a_field_of_tomorrow": {"deep": [1, 2]},
        }
        return made | changes

    return make


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    running = Peer(tmp_path_factory.mktemp("devforge"))
    yield running
    running.stop()


@pytest.fixture
def work(peer: Peer, tmp_path: Path, request: pytest.FixtureRequest) -> Work:
    """A repository of the test's own, without checks."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:80].strip("-")
    return peer.repository(name, tmp_path / "work", {"README.md": "# Sample\n", "src/app.py": "a = 1\n"})


@pytest.fixture(scope="session")
def installation(peer: Peer) -> dict[str, Any]:
    """A GitHub App that is installed on every repository of acme."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    made = peer.post("/_devforge/apps", slug="fettle-app", public_key=public.decode(), owner="acme")
    installed = peer.post("/_devforge/installations", app="fettle-app", account="acme")
    return {"app_id": made["id"], "installation_id": installed["id"], "private_key": private.decode()}


@contextlib.asynccontextmanager
async def _opened(peer: Peer, **identity: Any) -> AsyncIterator[github.GitHub]:
    async with contextlib.aclosing(connect.open_forge(connect.ForgeSettings(api_url=peer.url, **identity))) as adapter:
        yield adapter
    peer.admin.delete("/_devforge/faults").raise_for_status()


@pytest.fixture
async def bot(peer: Peer) -> AsyncIterator[github.GitHub]:
    """Fettle with a personal token."""
    async with _opened(peer, token=BOT_TOKEN) as adapter:
        yield adapter


@pytest.fixture
async def app_bot(peer: Peer, installation: dict[str, Any]) -> AsyncIterator[github.GitHub]:
    """Fettle as a GitHub App."""
    async with _opened(peer, **installation) as adapter:
        yield adapter


@pytest.fixture(params=["token", "app"])
async def client(
    peer: Peer, installation: dict[str, Any], request: pytest.FixtureRequest
) -> AsyncIterator[github.GitHub]:
    """Fettle as one, then as the other."""
    async with _opened(peer, **({"token": BOT_TOKEN} if request.param == "token" else installation)) as adapter:
        yield adapter
