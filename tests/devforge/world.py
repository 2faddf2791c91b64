"""A running forge, its callers, a working copy, and a listener for webhooks: what the tests act with."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

ROOT = Path(__file__).resolve().parents[2]
ADMIN = "admin-token-of-the-tests"
CI_FILE = ".devforge-ci.json"
_Found = TypeVar("_Found")


def ci_file(command: str, name: str = "tests", seconds: float = 20) -> str:
    """The content of a CI declaration with one check."""
    return json.dumps({"checks": [{"name": name, "command": command, "timeout_seconds": seconds}]})


async def eventually(look: Callable[[], Awaitable[_Found | None]], what: str, seconds: float = 20) -> _Found:
    """The first answer that is not None; looks again every few milliseconds, at most `seconds` long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := await look()) is not None:
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def lives(pid: int) -> bool:
    """Whether a process still does anything; one that nobody waited for is dead too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Server:
    """One forge process on a free port, with its state in a directory.

    The port stays bound, without listening, until the process is ended in order: nobody else gets it while a killed
    one is started again.
    """

    def __init__(self, state: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "devforge", "--state", str(state), *options]
        self.state = state
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        self._held: socket.socket | None = None

    def start(self, port: int = 0) -> Self:
        """Start and wait for the line that says where it listens."""
        if self._held is None:
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the forge sets it too, so both may bind
            self._held.bind(("127.0.0.1", port))
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self._held.getsockname()[1])],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DEVFORGE_ADMIN_TOKEN": ADMIN},
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        line = json.loads(self._process.stdout.readline())
        assert line["pid"] == self._process.pid
        self.url = line["url"]
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process; its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(15)
        if self._process.stdout is not None:
            self._process.stdout.close()
        if how is signal.SIGTERM and self._held is not None:
            self._held.close()
            self._held = None
        return code

    def client(self, token: str | None = None, **headers: str) -> "Client":
        """A caller with a token."""
        auth = {"Authorization": f"Bearer {token}"} if token else {}
        return Client(httpx.AsyncClient(base_url=self.url, headers={**auth, **headers}, timeout=30, trust_env=False))


class Client:
    """One caller of the API; every method asserts the status and returns the body."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(self, method: str, path: str, status: int = 200, body: Any = None, version: str = "") -> Any:
        """Send one request; the JSON body, None when empty."""
        headers = {"X-GitHub-Api-Version": version} if version else {}
        response = await self.http.request(method, path, json=body, headers=headers)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text[:500]}"
        return response.json() if response.content else None

    async def get(self, path: str, status: int = 200) -> Any:
        """GET."""
        return await self.call("GET", path, status)

    async def post(self, path: str, body: Any = None, status: int = 201) -> Any:
        """POST."""
        return await self.call("POST", path, status, body)

    async def put(self, path: str, body: Any = None, status: int = 200) -> Any:
        """PUT."""
        return await self.call("PUT", path, status, body)

    async def patch(self, path: str, body: Any = None, status: int = 200) -> Any:
        """PATCH."""
        return await self.call("PATCH", path, status, body)

    async def delete(self, path: str, status: int = 204) -> Any:
        """DELETE."""
        return await self.call("DELETE", path, status)


class Work:
    """A clone of a repository of the forge, driven by real git over real HTTP."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        self.folder, self.url = folder, url
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }

    async def git(self, *arguments: str, ok: bool = True) -> str:
        """Run git in the clone; what it printed on both streams."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=self.folder,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert (process.returncode == 0) is ok, f"git {arguments}: {process.returncode} {out.decode()}"
        return out.decode().strip()

    async def clone(self) -> Self:
        """Clone what is there, also an empty repository."""
        self.folder.mkdir(parents=True)
        await self.git("init", "--quiet", "--initial-branch=main")
        await self.git("remote", "add", "origin", self.url)
        await self.git("fetch", "--quiet", "origin")
        return self

    async def commit(self, files: dict[str, str], message: str = "work") -> str:
        """Write files and commit them; the commit id."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        await self.git("add", "--all")
        await self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return await self.git("rev-parse", "HEAD")

    async def branch(self, name: str, files: dict[str, str], start: str = "main", message: str = "work") -> str:
        """A new branch with one commit, pushed; its tip."""
        await self.git("checkout", "--quiet", "-B", name, start)
        sha = await self.commit(files, message)
        await self.git("push", "--quiet", "origin", f"+HEAD:refs/heads/{name}")
        return sha


@dataclass
class Repository:
    """A repository of one test, with its owner, another writer, the admin and a clone."""

    name: str
    server: Server
    owner: Client
    bot: Client
    admin: Client
    work: Work
    tokens: dict[str, str]

    @property
    def path(self) -> str:
        """The start of its API paths."""
        return f"/repos/ada/{self.name}"

    async def pull(self, head: str, title: str = "A change", body: str = "", **more: Any) -> dict[str, Any]:
        """Open a pull request onto main as the bot."""
        wanted = {"title": title, "head": head, "base": "main", "body": body, **more}
        found: dict[str, Any] = await self.bot.post(f"{self.path}/pulls", wanted)
        return found

    async def concluded(self, sha: str, name: str = "tests") -> dict[str, Any]:
        """Wait for a check run to complete."""

        async def look() -> dict[str, Any] | None:
            listing = await self.bot.get(f"{self.path}/commits/{sha}/check-runs?check_name={name}")
            runs: list[dict[str, Any]] = [run for run in listing["check_runs"] if run["status"] == "completed"]
            return runs[0] if runs else None

        return await eventually(look, f"check {name} of {sha}")

    async def protect(self, *contexts: str, strict: bool = False, branch: str = "main") -> None:
        """Require checks on a branch."""
        rules = {
            "required_status_checks": {"strict": strict, "contexts": list(contexts)},
            "enforce_admins": True,
            "required_pull_request_reviews": None,
            "restrictions": None,
        }
        await self.owner.put(f"{self.path}/branches/{branch}/protection", rules)

    async def status(self, sha: str, state: str = "success", context: str = "tests") -> None:
        """Report a commit status."""
        await self.bot.post(f"{self.path}/statuses/{sha}", {"state": state, "context": context})

    async def listen(self, listener: "Listener", *events: str) -> dict[str, Any]:
        """Hook a listener to this repository."""
        config = {"url": listener.url, "secret": listener.secret, "content_type": "json"}
        wanted = {"name": "web", "events": list(events) or ["*"], "config": config}
        found: dict[str, Any] = await self.owner.post(f"{self.path}/hooks", wanted)
        return found


@dataclass(frozen=True)
class Delivery:
    """One received webhook."""

    event: str
    guid: str
    signature: str
    raw: bytes
    payload: dict[str, Any]

    @property
    def kind(self) -> str:
        """`event.action`, or the event alone."""
        action = self.payload.get("action")
        return f"{self.event}.{action}" if action else self.event


@dataclass
class Listener:
    """A small HTTP server that keeps what it is sent."""

    secret: str = "hook-secret"
    status: int = 200
    got: list[Delivery] = field(default_factory=list)
    url: str = ""
    _server: asyncio.Server | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def start(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/hook"
        return self

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:]}
        raw = await reader.readexactly(int(headers["content-length"]))
        async with self._news:
            self.got.append(
                Delivery(
                    headers["x-github-event"],
                    headers["x-github-delivery"],
                    headers.get("x-hub-signature-256", ""),
                    raw,
                    json.loads(raw),
                )
            )
            self._news.notify_all()
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def until(self, done: Callable[[list[Delivery]], bool], seconds: float = 20) -> list[Delivery]:
        """Wait until what was received satisfies a condition."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: done(self.got))
        return list(self.got)

    async def has(self, *kinds: str) -> list[Delivery]:
        """Wait until all of these were received."""
        return await self.until(lambda got: set(kinds) <= {item.kind for item in got})

    def signed(self, delivery: Delivery) -> bool:
        """Whether the signature is the one of the secret."""
        expected = hmac.new(self.secret.encode(), delivery.raw, hashlib.sha256).hexdigest()
        return hmac.compare_digest(delivery.signature, f"sha256={expected}")
