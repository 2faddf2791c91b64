"""Model requests on their way to the provider: the agent's placeholder is taken out, the key is put in.

The agent speaks plain HTTP to a loopback address and holds nothing of worth; here the request is given the key and goes
on over TLS. Answers stream through as they come.
"""

import asyncio
import functools
import hmac
import json
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx

from sandbox.egress import carry, evidence, messages
from sandbox.egress.verdicts import Denied, Why

_CREDENTIALS: Final = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")
_TIMES: Final = httpx.Timeout(connect=15, read=900, write=120, pool=30)
"""A model may think for minutes before its first byte; how long a turn may be silent is decided elsewhere."""
_CONNECTIONS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=8)
_LOOK: Final = re.compile(r"(/v\d\w{0,9})?/models(/[\w-][\w.-]{0,99})?")
_CALL: Final = re.compile(
    rf"{_LOOK.pattern}(:(generateContent|streamGenerateContent|countTokens))?"
    r"|(/v\d\w{0,9})?/(messages(/count_tokens)?|responses(/compact)?|chat/completions)"
)
"""What the key is for, in the wire protocols of all providers: model calls and the list of models. Their files,
batches, fine-tunings and accounts take the same key; an agent has no business there. Nothing here can be read as
another path: no dots of a parent, no escapes, no empty segment."""
_EMPTY_STATUS: Final = frozenset({204, 304})


@dataclass(frozen=True)
class ModelApi:
    """One provider as an agent sees it, below `http://127.0.0.1:PORT<mount>`."""

    mount: str
    """One path segment with its slash, such as `/model`."""
    upstream: str
    """The provider's address; may have a path."""
    header: str
    """The header that carries the key, in small letters."""
    secret: str = field(repr=False)
    placeholder: str = field(repr=False)
    """What the agent holds instead of the key. Worth nothing anywhere else, and nothing after the turn."""
    prefix: str = ""
    """Stands before the key, such as `Bearer ` with its blank."""

    @property
    def host(self) -> str:
        return urlsplit(self.upstream).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.upstream)
        return parts.port or (443 if parts.scheme == "https" else 80)


class Gateway:
    """The model requests of one turn. `aclose` gives its connections back."""

    def __init__(
        self, apis: Sequence[ModelApi], journal: evidence.Journal, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._apis = tuple(apis)
        self._journal = journal
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def handle(self, head: messages.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. False: the connection cannot be used for another one.

        Raises:
            Denied: recorded; the client has had no answer yet.
        """
        if head.method == "HEAD":  # a CLI's look whether anybody is there: answered here, it costs nothing
            writer.write(messages.encode("HTTP/1.1 200 OK", (("content-length", "0"),)))
            await writer.drain()
            return head.keeps_alive
        path, _, query = head.target.partition("?")
        api = next((each for each in self._apis if path.startswith(f"{each.mount}/")), None)
        try:
            if api is None:
                raise Denied(
                    Why.PATH, f"{path[:80]} is no model API here: use the base address from the environment", 404
                )
            rest = path.removeprefix(api.mount)
            _authenticate(api, head, query)
            _check_call(api, head.method, rest)
            length = head.length
            entry = self._journal.allow("model", api.host, api.port, Why.MODEL, method=head.method, path=rest)
        except Denied as refused:
            place = (api.host, api.port) if api else ("", 0)
            self._journal.refuse("model", *place, refused.why, method=head.method, path=path)
            raise
        exchange = _Exchange(api, head, length, reader, writer, entry)
        try:
            return await exchange.run(await self._connected(), f"{rest}{_without_key(query, api.placeholder)}")
        finally:
            entry.ended()

    async def _connected(self) -> httpx.AsyncClient:
        if self._tls is None:
            self._tls = await asyncio.to_thread(_default_tls)
        if self._client is None:  # asked after the wait: two first requests may have come at once
            self._client = httpx.AsyncClient(
                verify=self._tls, timeout=_TIMES, limits=_CONNECTIONS, follow_redirects=False
            )
        return self._client


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        api: ModelApi,
        head: messages.Head,
        length: int | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        entry: evidence.Entry,
    ) -> None:
        self._api = api
        self._head = head
        self._length = length
        self._reader = reader
        self._writer = writer
        self._entry = entry
        self._asked = asyncio.Event()
        self._begun = False
        self._ended_well = False

    async def run(self, client: httpx.AsyncClient, target: str) -> bool:
        if self._head.values("expect"):
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            await carry.while_present(self._reader, self._asked, self._pass_on(client, self._request(target)))
        except (carry.ClientLeft, asyncio.IncompleteReadError, OSError):
            return False
        except httpx.HTTPError as error:
            return await self._explain(error)
        return self._ended_well and self._asked.is_set() and self._head.keeps_alive

    def _request(self, target: str) -> httpx.Request:
        address = urlsplit(self._api.upstream)
        base = address.path.rstrip("/")
        url = httpx.URL(
            scheme=address.scheme, host=address.hostname or "", port=address.port, raw_path=f"{base}{target}".encode()
        )
        kept = self._head.end_to_end("host", "expect", *_CREDENTIALS)
        key = f"{self._api.prefix}{self._api.secret}"
        headers = [(name.encode(), value.encode("latin-1")) for name, value in (*kept, (self._api.header, key))]
        if self._length == 0:
            self._asked.set()
            return httpx.Request(self._head.method, url, headers=headers)
        return httpx.Request(self._head.method, url, headers=headers, content=self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        async for piece in messages.body(self._reader, self._length):
            self._entry.up += len(piece)
            yield piece
        self._asked.set()

    async def _pass_on(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        response = await client.send(request, stream=True)
        try:
            self._entry.status = response.status_code
            chunked = self._begin(response)
            async for piece in response.aiter_raw():
                self._entry.down += len(piece)
                self._writer.write(messages.as_chunk(piece) if chunked else piece)
                await self._writer.drain()
            if chunked:
                self._writer.write(messages.as_chunk(b""))
                await self._writer.drain()
            self._ended_well = True
        finally:
            await response.aclose()

    def _begin(self, response: httpx.Response) -> bool:
        """Write the answer's head. True: its body goes out in chunks."""
        raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw]
        headers = messages.end_to_end(raw, ("set-cookie",))
        bounded = response.status_code in _EMPTY_STATUS or any(name == "content-length" for name, _ in headers)
        chunked = not bounded and self._head.minor == 1
        how = ((("transfer-encoding", "chunked"),) if chunked else ()) + (
            () if self._head.keeps_alive and (bounded or chunked) else (("connection", "close"),)
        )
        start = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
        self._begun = True
        self._writer.write(messages.encode(start, (*headers, *how)))
        return chunked

    async def _explain(self, error: httpx.HTTPError) -> bool:
        """Say that the provider did not answer; after the answer has begun, only its missing end can say it."""
        late = isinstance(error, httpx.TimeoutException)
        if not self._begun:
            words = (
                f"{self._api.host} {'did not answer in time' if late else 'cannot be reached'} ({type(error).__name__})"
            )
            status = 504 if late else 502
            self._entry.status = status
            await messages.say_and_linger(self._reader, self._writer, error_answer(status, "api_error", words))
        return False


def error_answer(status: int, kind: str, words: str) -> bytes:
    """An error in the shape that the CLIs of all providers can show."""
    text = json.dumps({"type": "error", "error": {"type": kind, "message": words, "code": status, "status": kind}})
    return messages.answer(status, text, kind="application/json")


def _authenticate(api: ModelApi, head: messages.Head, query: str) -> None:
    shown = [value for name in _CREDENTIALS for value in head.values(name)]
    shown += [part.removeprefix("key=") for part in query.split("&") if part.startswith("key=")]
    wanted = api.placeholder.encode()
    held = [each.split(" ")[-1].encode("utf-8", "replace") for each in shown]
    if not any(hmac.compare_digest(each, wanted) for each in held):
        raise Denied(
            Why.CREDENTIALS, "the key is not the one that this turn was given: use the key from the environment", 401
        )


def _check_call(api: ModelApi, method: str, rest: str) -> None:
    if not _CALL.fullmatch(rest) or method not in (("GET",) if _LOOK.fullmatch(rest) else ("GET", "POST")):
        raise Denied(
            Why.PATH,
            f"{method} {rest[:80]} of {api.host} is not for agents, the key is for model calls alone: ask the model",
        )


def _without_key(query: str, placeholder: str) -> str:
    kept = "&".join(part for part in query.split("&") if part and part != f"key={placeholder}")
    return f"?{kept}" if kept else ""


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Reading the certificates takes some 30 ms; SSL_CERT_FILE of the worker counts."""
    return httpx.create_ssl_context()
