"""The frame around every API call: who, faults, rate limit, errors, pages, entity tags, and the log of mutations."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, clock, database, errors, faults, state

NEWEST_VERSION = "2026-03-10"
VERSIONS = ("2022-11-28", NEWEST_VERSION)
MAX_BODY = 25_000_000
MAX_PER_PAGE = 100
_MUTATING = ("POST", "PUT", "PATCH", "DELETE")
_Item = TypeVar("_Item")


@dataclass
class Call:
    """One API request, with what a handler asks of it."""

    forge: state.Forge
    request: Request
    who: auth.Identity
    version: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def db(self) -> database.Database:
        """The forge's database."""
        return self.forge.db

    def param(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def number(self, name: str = "number") -> int:
        """A part of the path that must be a number.

        Raises:
            ApiError: 404.
        """
        text = self.param(name)
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise errors.not_found()
        return int(text)

    def query(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return str(self.request.query_params.get(name, default))

    def find_repository(self) -> database.Row:
        """The repository of the path, whoever asks.

        Raises:
            ApiError: 404.
        """
        row = self.db.one(
            "SELECT r.*, u.login AS owner FROM repositories r JOIN users u ON u.id = r.owner_id "
            "WHERE u.login = ? AND r.name = ?",
            self.param("owner"),
            self.param("repo"),
        )
        if row is None:
            raise errors.not_found()
        return row

    def repository(self, *needs: str) -> database.Row:
        """The repository of the path, if the caller has one of the needs (default: may see it).

        Raises:
            ApiError: 401, 403 or 404.
        """
        row = self.find_repository()
        auth.require(self.forge, self.who, row, *(needs or ("metadata:read",)))
        return row

    def wants(self, media: str) -> bool:
        """Whether the caller accepts `application/vnd.github.<media>`, with or without a version or `+json`."""
        accepted = self.request.headers.get("accept", "").replace("github.v3.", "github.")
        return f"application/vnd.github.{media}" in accepted

    def text(self, name: str, resource: str, default: str | None = None) -> str:
        """A string of the body.

        Raises:
            ApiError: 422 when it is missing without a default, or is no string.
        """
        value = self.data.get(name, default)
        if value is None:
            raise errors.invalid(resource, name, "missing_field")
        if not isinstance(value, str):
            raise errors.invalid(resource, name)
        return value

    def optional(self, name: str, resource: str) -> str | None:
        """A string of the body that may be null or absent.

        Raises:
            ApiError: 422 when it is something else.
        """
        value = self.data.get(name)
        if value is not None and not isinstance(value, str):
            raise errors.invalid(resource, name)
        return value

    def flag(self, name: str, resource: str, default: bool = False) -> bool:
        """A boolean of the body.

        Raises:
            ApiError: 422 when it is something else.
        """
        value = self.data.get(name, default)
        if not isinstance(value, bool):
            raise errors.invalid(resource, name)
        return value

    def texts(self, name: str, resource: str) -> list[str]:
        """A list of strings of the body; absent is empty.

        Raises:
            ApiError: 422 when it is something else.
        """
        value = self.data.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise errors.invalid(resource, name)
        return value

    def page(self) -> tuple[int, int]:
        """(page from 1, items on a page), with GitHub's default of 30 and limit of 100."""
        return _positive(self.query("page"), 1, 1_000_000), _positive(self.query("per_page"), 30, MAX_PER_PAGE)

    def select(self, sql: str, *values: Any) -> tuple[list[database.Row], int]:
        """The rows of the asked page, and how many there are in all."""
        page, size = self.page()
        total = int(self.db.scalar(f"SELECT count(*) FROM ({sql})", *values))
        return self.db.all(f"{sql} LIMIT ? OFFSET ?", *values, size, (page - 1) * size), total

    def cut(self, items: Sequence[_Item]) -> list[_Item]:
        """The part of a list that the asked page shows."""
        page, size = self.page()
        return list(items[(page - 1) * size : page * size])

    def paged(self, items: Iterable[Any], total: int, key: str | None = None) -> Response:
        """Answer one page with its `Link` header; with a key as `{"total_count", key}`."""
        shown = list(items)
        body: Any = shown if key is None else {"total_count": total, key: shown}
        return answer(body, headers=self._link(total))

    def _link(self, total: int) -> dict[str, str]:
        page, size = self.page()
        last = max(1, -(-total // size))
        wanted = {}
        if page > 1:
            wanted["prev"], wanted["first"] = min(page - 1, last), 1
        if page < last:
            wanted["next"], wanted["last"] = page + 1, last
        if not wanted:
            return {}
        known = {key: value for key, value in self.request.query_params.items() if key != "page"}
        base = f"{self.forge.url}{self.request.url.path}"
        parts = (f'<{base}?{urlencode({**known, "page": number})}>; rel="{rel}"' for rel, number in wanted.items())
        return {"Link": ", ".join(parts)}


def _positive(text: str, default: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        return default
    return min(int(text[:9]), most)


Handler = Callable[[Call], Awaitable[Response]]


def answer(body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; None gives an empty body."""
    if body is None:
        return Response(status_code=status, headers=headers)
    data = json.dumps(body, separators=(",", ":")).encode()
    return Response(data, status, headers, "application/json; charset=utf-8")


def media(data: bytes, kind: str) -> Response:
    """An answer in one of GitHub's own media types."""
    return Response(data, media_type=f"application/vnd.github.{kind}; charset=utf-8")


def route(method: str, path: str, handler: Handler, faulty: bool = True) -> Route:
    """One API operation. Admin operations are not `faulty`: no fault and no rate limit reaches them."""

    async def endpoint(request: Request) -> Response:
        return await _serve(request, handler, faulty)

    return Route(path, endpoint, methods=[method])


async def _serve(request: Request, handler: Handler, faulty: bool) -> Response:
    forge: state.Forge = request.app.state.forge
    who, fault, usage = auth.ANONYMOUS, None, (0, 0)
    try:
        who = auth.identify(forge, request.headers.get("authorization"))
        usage = forge.count_request(who.key) if faulty else usage
        if faulty and usage[0] > forge.rate_limit:
            raise errors.ApiError(403, f"API rate limit exceeded for {who.login}.")
        response = await _run(forge, request, who, handler, faulty)
    except errors.ApiError as refusal:
        response = answer(refusal.body(), refusal.status, refusal.headers)
    if request.method in _MUTATING:
        if faulty and response.status_code < 400 and faults.after(forge, request.method, request.url.path):
            fault = "commit_then_502"
        if faulty:
            log_mutation(forge, who, request.method, request.url.path, response.status_code, fault)
        if fault:
            response = answer({"message": "Server Error"}, 502)
    elif response.status_code == 200:
        response = _tagged(request, response)
    if faulty and "x-ratelimit-remaining" not in response.headers:
        response.headers.update(_rate_headers(*usage, forge.rate_limit))
    response.headers.setdefault("X-GitHub-Media-Type", "github.v3; format=json")
    return response


async def _run(forge: state.Forge, request: Request, who: auth.Identity, handler: Handler, faulty: bool) -> Response:
    version = request.headers.get("x-github-api-version", VERSIONS[0])
    if version not in VERSIONS:
        raise errors.ApiError(400, f"{version} is not a supported API version: use one of {', '.join(VERSIONS)}")
    if faulty:
        if seconds := faults.latency(forge, request.method, request.url.path):
            await asyncio.sleep(seconds)
        faults.before(forge, request.method, request.url.path, who.login)
    elif who.kind != "admin":
        raise errors.ApiError(401, "The admin API needs the admin token: send it as a Bearer token")
    call = Call(forge, request, who, version)
    if request.method in _MUTATING:
        call.data = await _body(request)
    response = await handler(call)
    response.headers["X-GitHub-Api-Version-Selected"] = version
    return response


async def _body(request: Request) -> dict[str, Any]:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise errors.ApiError(413, "Request body is too large")
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as bad:
        raise errors.ApiError(400, "Problems parsing JSON") from bad
    if isinstance(value, list):  # labels and contexts may be sent as a bare list
        return {"": value}
    if not isinstance(value, dict):
        raise errors.ApiError(400, "Body should be a JSON object")
    return value


def log_mutation(
    forge: state.Forge, who: auth.Identity, method: str, path: str, status: int, fault: str | None
) -> None:
    """Remember a mutating request, whatever became of it; `status` is the one before any fault."""
    forge.db.insert(
        "mutations", at=clock.precise(), who=who.login, method=method, path=path, status=status, fault=fault
    )


def _tagged(request: Request, response: Response) -> Response:
    tag = f'W/"{hashlib.sha256(bytes(response.body)).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def _rate_headers(used: int, until: int, limit: int) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Used": str(used),
        "X-RateLimit-Remaining": str(max(0, limit - used)),
        "X-RateLimit-Reset": str(until),
        "X-RateLimit-Resource": "core",
    }
