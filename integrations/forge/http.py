"""One request to a GitHub-compatible API and its answer, or a typed error. Nothing in here retries."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
import pydantic

from domain import errors
from integrations.forge import http_errors

JSON: Final = "application/vnd.github+json"
DIFF: Final = "application/vnd.github.diff"
API_VERSION: Final = "2022-11-28"
"""Pinned: later versions remove fields and change answers, so a move is a decision and not an accident."""
MAX_ANSWER_BYTES: Final = 32 * 2**20
"""The largest answer we ask for (a page of 100 pull requests) is about 3 MB; more than this is not the API."""
MAX_REDIRECTS: Final = 3
TIMEOUT: Final = httpx.Timeout(30, connect=10)
_REDIRECTS: Final = frozenset({301, 302, 307, 308})

_Model = TypeVar("_Model", bound=pydantic.BaseModel)


@dataclass(frozen=True)
class Call:
    """One request. `to` says it in the operator's words: it completes the sentence "could not …"."""

    method: str
    path: str
    """Below the API's address, parts already quoted; or the whole address of a following page."""
    to: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    accept: str = JSON
    """`DIFF` where the answer is to be a text."""
    refusals: Mapping[int, http_errors.Refusal] = field(default_factory=dict)
    """What a status means for this call alone, where that differs from its usual meaning."""


@dataclass(frozen=True)
class Answer:
    """A 2xx or 304 answer; `data` is the decoded JSON (None when there was no body), or the text that was asked for."""

    status: int
    headers: httpx.Headers
    data: Any

    @property
    def next_page(self) -> str:
        """Address of the following page, empty on the last one."""
        link = httpx.Response(200, headers=self.headers).links.get("next", {})
        return str(link.get("url", ""))


class Transport:
    """Sends calls to one API address; holds no credentials.

    `clock` gives seconds since the epoch and is only read to turn a rate limit's reset time into a wait.
    """

    def __init__(self, api_url: str, *, clock: Callable[[], float] = time.time, timeout: httpx.Timeout = TIMEOUT):
        self._base = api_url.rstrip("/")
        self._origin = _origin(httpx.URL(self._base))
        self._clock = clock
        self._client = httpx.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            trust_env=httpx.URL(self._base).host not in {"127.0.0.1", "::1", "localhost"},  # no proxy to ourselves
            headers={
                "User-Agent": "fettle",
                "X-GitHub-Api-Version": API_VERSION,
            },
        )

    @property
    def graphql_path(self) -> str:
        """GitHub Enterprise Server has GraphQL beside its REST root, everybody else below it."""
        if self._base.endswith("/api/v3"):
            return self._base.removesuffix("/v3") + "/graphql"
        return "/graphql"

    def now(self) -> float:
        return self._clock()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def send(self, call: Call, *, authorization: str, etag: str = "") -> Answer:
        """Send `call` once and follow renames. A 304 comes back as an answer only when `etag` was given.

        Raises:
            errors.ForgeError: the class that `http_errors` gives to the status; `ForgeUnavailable` when there was no
                usable answer, which for a write means that its outcome is unknown.
        """
        headers = {"Authorization": authorization, "Accept": call.accept} | ({"If-None-Match": etag} if etag else {})
        url = self._address(call).copy_merge_params(dict(call.params)) if call.params else self._address(call)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._exchange(call, url, headers)
            if response.status_code not in _REDIRECTS:
                return self._read(call, response, conditional=bool(etag))
            url = self._renamed(call, url, response)
        raise errors.ForgeUnavailable(
            f"could not {call.to}: {call.method} {call.path} was redirected more than {MAX_REDIRECTS} times; "
            "check that the forge's api_url is the address it calls itself"
        )

    def _address(self, call: Call) -> httpx.URL:
        if not call.path.startswith(("http://", "https://")):
            return httpx.URL(self._base + call.path)
        url = httpx.URL(call.path)
        self._stay_here(call, url)
        return url

    def _stay_here(self, call: Call, url: httpx.URL) -> None:
        """The token goes to the configured forge and nowhere else."""
        if _origin(url) != self._origin:
            raise errors.InvalidRequest(
                f"could not {call.to}: the forge points to {url.host}, the configured API is {self._base}; "
                "set api_url to the address that the forge calls itself"
            )

    def _renamed(self, call: Call, url: httpx.URL, response: httpx.Response) -> httpx.URL:
        """Where a renamed or moved repository is now. GitHub asks for the same verb again, so 301 keeps it here."""
        location = response.headers.get("location", "")
        if not location:
            raise errors.ForgeUnavailable(
                f"could not {call.to}: the forge answered {response.status_code} without a Location; try again later"
            )
        target = url.join(location)
        self._stay_here(call, target)
        return target

    async def _exchange(self, call: Call, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        """The whole answer in memory, up to a sane size."""
        content = json.dumps(call.body).encode() if call.body is not None else None
        sent = dict(headers) | ({"Content-Type": "application/json"} if content is not None else {})
        raw = bytearray()
        try:
            async with self._client.stream(call.method, url, headers=sent, content=content) as response:
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise errors.ForgeUnavailable(
                            f"could not {call.to}: the answer exceeds {MAX_ANSWER_BYTES // 2**20} MB, which no call "
                            f"of ours asks for; check that {self._base} is a forge's API"
                        )
        except httpx.RequestError as failure:
            raise errors.ForgeUnavailable(
                f"could not {call.to}: no answer from {url.host} to {call.method} {url.path} "
                f"({type(failure).__name__}); the call is safe to make again once the forge can be reached"
            ) from failure
        kept = httpx.Headers([(k, v) for k, v in response.headers.multi_items() if k != "content-encoding"])
        return httpx.Response(response.status_code, headers=kept, content=bytes(raw))

    def _read(self, call: Call, response: httpx.Response, *, conditional: bool) -> Answer:
        status = response.status_code
        if status == httpx.codes.NOT_MODIFIED and conditional:
            return Answer(status, response.headers, None)
        decoded, data = _decode(response.content)
        if response.is_success and call.accept != JSON:
            return Answer(status, response.headers, _text(call, response))
        if response.is_success and decoded:
            return Answer(status, response.headers, data)
        seen = http_errors.Seen(
            to=call.to,
            asked=f"{call.method} {call.path.partition('?')[0]}",
            status=status,
            headers=response.headers,
            data=data,
            decoded=decoded,
        )
        raise http_errors.of_answer(seen, refusals=call.refusals, now=self._clock())


def parse(model: type[_Model], data: object, *, to: str) -> _Model:
    """Read an answer as `model`.

    Raises:
        errors.ForgeUnavailable: a field we need is missing or of another type, so this is not the API's answer.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as problem:
        # Places only: the values of an answer may be secrets.
        places = ", ".join(sorted({".".join(map(str, e["loc"])) or "the whole" for e in problem.errors()})[:5])
        raise errors.ForgeUnavailable(
            f"could not {to}: the answer is not what the API describes (look at: {places}); "
            "check that api_url is a forge's API, then try again"
        ) from None


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def _text(call: Call, response: httpx.Response) -> str:
    """A server that does not know the media type answers JSON, a proxy answers a page."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {call.accept, "text/plain"}:
        raise errors.ForgeUnavailable(
            f"could not {call.to}: asked for {call.accept}, the answer is {kind or 'of no type'}; "
            "check that api_url is the API of a forge that serves it"
        )
    return response.content.decode("utf-8", "replace")


def _decode(raw: bytes) -> tuple[bool, Any]:
    if not raw.strip():
        return True, None
    try:
        return True, json.loads(raw)
    except (ValueError, RecursionError):
        return False, None
