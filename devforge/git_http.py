"""Git over smart HTTP: `git http-backend` as a CGI program, with token auth and branch protection.

A request body is first spooled to a file, so a slow client never holds the repository's lock. Answers to fetches
are streamed; a push is answered only after everything that follows from the moved refs is stored.
"""

import asyncio
import contextlib
import functools
import gzip
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from devforge import auth, database, errors, faults, git, observe, rest, state, verdicts

MAX_PUSH = 512 * 1024 * 1024
_CHUNK = 65_536
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="devforge"'}


@functools.cache
def backend() -> str:
    """The path of `git-http-backend`.

    Raises:
        StartupFailed: this git has none.
    """
    folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    program = Path(folder, "git-http-backend")
    if not program.exists():
        raise errors.StartupFailed(f"{program} does not exist: install the complete git package")
    return str(program)


def install_hook(forge: state.Forge) -> None:
    """Put the `update` hook where every repository looks for it."""
    target = forge.root / "hooks" / "update"
    shutil.copyfile(Path(__file__).with_name("update_hook.sh"), target)
    target.chmod(0o755)


def _open(request: Request, service: str) -> tuple[auth.Identity, database.Row]:
    """Who wants what from which repository.

    Raises:
        ApiError: 401 with a challenge, 403 or 404.
    """
    forge: state.Forge = request.app.state.forge
    try:
        who = auth.identify(forge, request.headers.get("authorization"))
    except errors.ApiError as refusal:
        raise errors.ApiError(401, refusal.message, headers=_CHALLENGE) from refusal
    row = forge.db.one(
        "SELECT r.*, u.login AS owner FROM repositories r JOIN users u ON u.id = r.owner_id "
        "WHERE u.login = ? AND r.name = ?",
        request.path_params["owner"],
        request.path_params["repo"],
    )
    need = "contents:write" if service == "git-receive-pack" else "contents:read"
    if row is not None and auth.allows(forge, who, row, need):
        return who, row
    if who.kind == "anonymous":
        raise errors.ApiError(401, "Authentication required", headers=_CHALLENGE)
    if row is None or not auth.allows(forge, who, row, "contents:read"):
        raise errors.ApiError(404, "Repository not found.")
    raise errors.ApiError(403, f"Permission to {row['owner']}/{row['name']}.git denied to {who.login}.")


async def info_refs(request: Request) -> Response:
    """GET /{owner}/{repo}.git/info/refs"""
    service = request.query_params.get("service", "")
    if service not in ("git-upload-pack", "git-receive-pack"):
        return Response("Use the smart HTTP protocol\n", 403)
    return await _guarded(request, service, None)


async def upload_pack(request: Request) -> Response:
    """POST /{owner}/{repo}.git/git-upload-pack"""
    with tempfile.TemporaryFile(dir=request.app.state.forge.root / "spool") as body:
        return await _guarded(request, "git-upload-pack", body)


async def receive_pack(request: Request) -> Response:
    """POST /{owner}/{repo}.git/git-receive-pack"""
    with tempfile.TemporaryFile(dir=request.app.state.forge.root / "spool") as body:
        return await _guarded(request, "git-receive-pack", body)


async def _guarded(request: Request, service: str, body: IO[bytes] | None) -> Response:
    forge: state.Forge = request.app.state.forge
    method, path = request.method, request.url.path
    pushing = service == "git-receive-pack" and body is not None
    who, fault = auth.ANONYMOUS, None
    try:
        who, repo = _open(request, service)
        await asyncio.sleep(faults.latency(forge, method, path))
        faults.before(forge, method, path, who.login)
        if body is not None:
            await _spool(request, body)
        response = await _push(request, who, repo, body) if pushing and body else await _pull(request, repo, body)
    except errors.ApiError as refusal:
        response = Response(refusal.message + "\n", refusal.status, refusal.headers, "text/plain")
    if pushing:
        fault = "commit_then_502" if response.status_code < 400 and faults.after(forge, method, path) else None
        rest.log_mutation(forge, who, method, path, response.status_code, fault)
    return Response("Bad gateway\n", 502) if fault else response


async def _spool(request: Request, body: IO[bytes]) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_PUSH:
            raise errors.ApiError(413, f"The request is larger than {MAX_PUSH} bytes")
        body.write(chunk)
    body.flush()


def _cgi(request: Request, repo: database.Row, body: IO[bytes] | None, extra: dict[str, str]) -> dict[str, str]:
    """The CGI environment of one request."""
    forge: state.Forge = request.app.state.forge
    tail = request.url.path.rpartition(".git/")[2]
    found = {
        "GIT_PROJECT_ROOT": str(forge.root / "repositories"),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "PATH_INFO": f"/{repo['id']}.git/{tail}",
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "REMOTE_ADDR": "127.0.0.1",
        **extra,
    }
    if body is not None:
        found["CONTENT_LENGTH"] = str(body.seek(0, 2))
    if (encoding := request.headers.get("content-encoding", "")) in ("gzip", "x-gzip"):
        found["HTTP_CONTENT_ENCODING"] = encoding
    protocol = request.headers.get("git-protocol", "")
    if re.fullmatch(r"[a-z0-9=:]{1,100}", protocol):
        found["GIT_PROTOCOL"] = protocol
    return git.environment(found)


async def _start(environment: dict[str, str], body: IO[bytes] | None) -> asyncio.subprocess.Process:
    if body is not None:
        body.seek(0)
    return await asyncio.create_subprocess_exec(
        backend(),
        stdin=asyncio.subprocess.DEVNULL if body is None else body,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )


async def _head(stream: Any) -> tuple[int, dict[str, str]]:
    """Status and headers that a CGI program writes before its body."""
    status, headers = 200, {}
    while (line := (await stream.readline()).decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return status, headers


async def _pull(request: Request, repo: database.Row, body: IO[bytes] | None) -> Response:
    process = await _start(_cgi(request, repo, body, {}), body)
    status, headers = await _head(process.stdout)
    return StreamingResponse(_stream(process), status, headers)


async def _stream(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    try:
        while process.stdout is not None and (chunk := await process.stdout.read(_CHUNK)):
            yield chunk
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _push(request: Request, who: auth.Identity, repo: database.Row, body: IO[bytes]) -> Response:
    """Run the push under the repository's lock, and let everything follow before the client hears of it."""
    forge: state.Forge = request.app.state.forge
    commands = _commands(body, request.headers.get("content-encoding", ""))
    async with forge.lock(repo["id"]):
        process = await _start(_cgi(request, repo, body, _rules(forge, repo, who, commands)), body)
        try:
            status, headers = await _head(process.stdout)
            data = await process.stdout.read() if process.stdout is not None else b""
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await observe.refs(forge, repo, who.user_id)
    return Response(data, status, headers)


def _commands(body: IO[bytes], encoding: str) -> list[tuple[str, str]]:
    """The (ref, new id) pairs that a push asks for: the packet lines up to the first flush."""
    body.seek(0)
    stream: Any = gzip.GzipFile(fileobj=body) if encoding in ("gzip", "x-gzip") else body
    found = []
    while (size := stream.read(4)) not in (b"0000", b""):
        try:
            line = stream.read(int(size, 16) - 4).split(b"\0")[0].decode("utf-8", "replace").rstrip("\n")
        except (ValueError, OSError) as bad:
            raise errors.ApiError(400, "The push request cannot be read") from bad
        parts = line.split(" ", 2)
        if len(parts) == 3 and git.SHA.match(parts[1]):
            found.append((parts[2], parts[1]))
    return found


def _rules(
    forge: state.Forge, repo: database.Row, who: auth.Identity, commands: list[tuple[str, str]]
) -> dict[str, str]:
    """What the `update` hook has to know about the refs of this push."""
    refused, forward = [], []
    for ref, sha in commands:
        if not ref.startswith("refs/heads/"):
            if ref.startswith("refs/pull/"):
                refused.append((ref, "deny updating a hidden ref"))
            continue  # any other name space is the pusher's own, as on GitHub: no event follows, no rule guards it
        branch = ref.removeprefix("refs/heads/")
        rules = verdicts.protection(forge, repo["id"], branch)
        if rules is None:
            if branch == repo["default_branch"] and sha == git.ZERO:
                refused.append((ref, "the default branch cannot be deleted"))
            continue
        forward.append(ref)
        if sha == git.ZERO:
            refused.append((ref, "Cannot delete this branch"))
        elif rules.rules.get("required_pull_request_reviews") is not None:
            refused.append((ref, "Changes must be made through a pull request."))
        elif lacking := verdicts.missing(forge, repo["id"], sha, rules):
            refused.append((ref, verdicts.refusal(lacking)))
    return {
        "REMOTE_USER": who.login,
        "DEVFORGE_REFUSED": "\n".join("\t".join(pair) for pair in refused),
        "DEVFORGE_FORWARD_ONLY": "\n".join(forward),
    }


_GIT = "/{owner}/{repo}.git"
ROUTES: list[Route] = [
    Route(f"{_GIT}/info/refs", info_refs, methods=["GET"]),
    Route(f"{_GIT}/git-upload-pack", upload_pack, methods=["POST"]),
    Route(f"{_GIT}/git-receive-pack", receive_pack, methods=["POST"]),
]
