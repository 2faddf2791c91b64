"""Model requests through the proxy: the key is put in on the way, the answer streams, the agent holds nothing."""

import asyncio
import dataclasses
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from sandbox.egress import evidence, gateway, proxy, rules
from sandbox.egress.verdicts import Why
from tests.sandbox.egress import peers

SECRET = "the-real-key-of-the-operator"
PLACEHOLDER = "held-by-the-proxy-1234"
EVENTS = [b"event: message_start\ndata: {}\n\n", b"event: ping\ndata: {}\n\n", b"event: message_stop\ndata: {}\n\n"]


@asynccontextmanager
async def gatewaying(
    kept: peers.Kept, upstream: str, *, tls: ssl.SSLContext | None = None, **changed: str
) -> AsyncIterator[str]:
    api = gateway.ModelApi("/model", upstream, "x-api-key", secret=SECRET, placeholder=PLACEHOLDER)
    api = dataclasses.replace(api, **changed)  # type: ignore[arg-type]
    serving = proxy.Proxy(rules.Rules(), kept.journal(), [api], password="for-tunnels-only", tls=tls)
    async with serving.on_loopback() as port:
        yield f"http://127.0.0.1:{port}/model"


@asynccontextmanager
async def asking() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20, trust_env=False, headers={"x-api-key": PLACEHOLDER}) as client:
        yield client


async def test_the_key_is_put_in_on_the_way_and_the_placeholder_is_taken_out(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = peers.authority(tmp_path_factory.mktemp("tls"), "localhost")
    kept = peers.Kept()
    async with (
        peers.serving(tls=own.server) as server,
        gatewaying(kept, f"https://localhost:{server.port}", tls=own.client) as base,
        asking() as client,
    ):
        sent = {"anthropic-version": "2023-06-01", "cookie": "a=b", "authorization": "Bearer other", "te": "trailers"}
        answer = await client.post(f"{base}/v1/messages?beta=true", json={"model": "m"}, headers=sent)
        (ended,) = await kept.until_ended()
    (request,) = server.requests
    assert (answer.status_code, answer.text) == (200, "hello")
    assert (request.method, request.target) == ("POST", "/v1/messages?beta=true")
    assert request.headers["x-api-key"] == SECRET
    assert request.headers["host"] == f"localhost:{server.port}"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert json.loads(request.body) == {"model": "m"}
    assert not {"cookie", "authorization", "te"} & set(request.headers)
    assert PLACEHOLDER not in str(request)
    assert (ended.kind, ended.host, ended.status, ended.path) == ("model", "localhost", 200, "/v1/messages")
    assert (ended.bytes_up, ended.bytes_down) == (len(request.body), 5)
    assert SECRET.encode() not in b"".join(kept.lines)


@pytest.mark.parametrize(
    ("header", "prefix", "shown"),
    [
        ("authorization", "Bearer ", {"authorization": f"Bearer {PLACEHOLDER}"}),
        ("x-goog-api-key", "", {"x-goog-api-key": PLACEHOLDER}),
        ("x-api-key", "", {"authorization": f"Bearer {PLACEHOLDER}"}),
    ],
)
async def test_every_provider_gets_its_key_in_its_own_header(header: str, prefix: str, shown: dict[str, str]) -> None:
    kept = peers.Kept()
    async with (
        peers.serving() as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}/base/", header=header, prefix=prefix) as base,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await client.post(f"{base}/responses", json={}, headers=shown)
    (request,) = server.requests
    assert request.target == "/base/responses"
    assert request.headers[header] == f"{prefix}{SECRET}"


async def test_a_placeholder_in_the_query_is_taken_out() -> None:
    kept = peers.Kept()
    async with (
        peers.serving() as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}", header="x-goog-api-key") as base,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        path = f"/v1beta/models/gemini-x:streamGenerateContent?alt=sse&key={PLACEHOLDER}"
        await client.post(f"{base}{path}", json={})
    assert server.requests[0].target == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    assert server.requests[0].headers["x-goog-api-key"] == SECRET


async def test_an_event_reaches_the_agent_before_the_next_one_exists() -> None:
    """The server sends an event only after the client has read the one before: a buffer in between would hang."""
    steps = [asyncio.Event() for _ in EVENTS]

    async def stream(request: peers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for event, step in zip(EVENTS, steps, strict=True):
            writer.write(event)
            await writer.drain()
            await step.wait()

    kept = peers.Kept()
    async with (
        peers.serving(stream) as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        asking() as client,
        client.stream("POST", f"{base}/v1/messages", json={}) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        seen = b""
        async for piece in answer.aiter_raw():
            seen += piece
            done = next(n for n in range(len(EVENTS), -1, -1) if seen.startswith(b"".join(EVENTS[:n])))
            for step in steps[:done]:
                step.set()
    assert seen == b"".join(EVENTS)


async def test_many_requests_use_one_connection_and_each_is_recorded() -> None:
    kept = peers.Kept()
    async with peers.serving() as server, gatewaying(kept, f"http://127.0.0.1:{server.port}") as base:
        place = base.removeprefix("http://127.0.0.1:").removesuffix("/model")
        one = f"POST /model/v1/messages HTTP/1.1\r\nx-api-key: {PLACEHOLDER}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(place))
        for _ in range(3):
            writer.write(one)
            head = await reader.readuntil(b"\r\n\r\n")
            assert peers.status(head) == 200
            assert await reader.readexactly(5) == b"hello"
        writer.close()
        await kept.until_ended(3)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": "guess"}, {"authorization": f"Bearer {SECRET}"}, {"cookie": "x"}]
)
async def test_without_the_turns_placeholder_the_key_stays_unused(headers: dict[str, str]) -> None:
    """On loopback any process of the host can ask."""
    kept = peers.Kept()
    async with (
        peers.serving() as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.post(f"{base}/v1/messages", json={}, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert server.connections == 0
    assert [each.why for each in kept.records] == [Why.CREDENTIALS]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/organizations/api_keys"),
        ("DELETE", "/v1/models/my-model"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/messages"),
        ("POST", "/v1/messages/../files"),
        ("POST", "/v1/messages/%2e%2e/files"),
        ("POST", "//v1/messages"),
        ("POST", "/v1/messages//"),
        ("POST", "/v1/messages\\..\\files"),
        ("GET", "/v1/models/.."),
        ("POST", ""),
        ("POST", "/"),
        ("POST", "@evil.example.org/v1/messages"),
        ("POST", "/v1beta/models/m:batchGenerateContent"),
        ("POST", "/v1/fine_tuning/jobs"),
    ],
)
async def test_the_key_is_for_model_calls_alone(method: str, path: str) -> None:
    kept = peers.Kept()
    async with peers.serving() as server, gatewaying(kept, f"http://127.0.0.1:{server.port}") as base:
        place = int(base.removeprefix("http://127.0.0.1:").removesuffix("/model"))
        head = f"{method} /model{path} HTTP/1.1\r\nx-api-key: {PLACEHOLDER}\r\ncontent-length: 0\r\n\r\n"
        answer = await peers.ask(place, head.encode())
    assert peers.status(answer) in {403, 404, 407}
    assert server.connections == 0


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions", "/responses"])
async def test_model_calls_of_every_protocol_pass(path: str) -> None:
    kept = peers.Kept()
    async with (
        peers.serving() as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        asking() as client,
    ):
        assert (await client.post(f"{base}{path}", json={})).status_code == 200
        assert (await client.get(f"{base}/v1/models/some-model")).status_code == 200
    assert [request.target for request in server.requests] == [path, "/v1/models/some-model"]


async def test_the_key_follows_no_redirect() -> None:
    async def elsewhere(request: peers.Request, writer: asyncio.StreamWriter) -> None:
        place = f"http://127.0.0.1:{server.port}/v1/messages/elsewhere"
        writer.write(f"HTTP/1.1 307 Temporary Redirect\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n".encode())

    kept = peers.Kept()
    async with (
        peers.serving(elsewhere) as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        asking() as client,
    ):
        answer = await client.post(f"{base}/v1/messages", json={})
    assert answer.status_code == 307
    assert len(server.requests) == 1


async def test_a_request_through_the_proxy_to_the_proxy_is_a_model_request() -> None:
    """Some clients send everything to their proxy, whatever NO_PROXY says."""
    kept = peers.Kept()
    async with peers.serving() as server, gatewaying(kept, f"http://127.0.0.1:{server.port}") as base:
        place = int(base.removeprefix("http://127.0.0.1:").removesuffix("/model"))
        head = f"POST {base}/v1/messages HTTP/1.1\r\nx-api-key: {PLACEHOLDER}\r\ncontent-length: 0\r\n"
        head += "connection: close\r\n\r\n"
        answer = await peers.ask(place, head.encode())
    assert peers.content(answer) == b"hello"
    assert server.requests[0].target == "/v1/messages"


async def test_a_look_at_the_server_is_answered_here() -> None:
    kept = peers.Kept()
    async with (
        peers.serving() as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.head(f"{base}/")).status_code == 200
    assert server.connections == 0


async def test_a_provider_that_does_not_answer_is_502_in_the_providers_own_shape() -> None:
    kept = peers.Kept()
    with peers.refusing() as closed:
        async with gatewaying(kept, f"http://127.0.0.1:{closed}") as base, asking() as client:
            answer = await client.post(f"{base}/v1/messages", json={})
            (ended,) = await kept.until_ended()
    assert answer.status_code == 502
    assert "cannot be reached" in answer.json()["error"]["message"]
    assert ended.status == 502


async def test_an_error_of_the_provider_is_passed_on_with_its_headers() -> None:
    async def busy(request: peers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\nset-cookie: a=b\r\ncontent-length: 4\r\n\r\nbusy"
        )

    kept = peers.Kept()
    async with (
        peers.serving(busy) as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        asking() as client,
    ):
        answer = await client.post(f"{base}/v1/messages", json={})
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (429, "busy", "7")
    assert "set-cookie" not in answer.headers


async def test_an_answer_that_breaks_off_is_not_made_to_look_whole() -> None:
    async def half(request: peers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")

    kept = peers.Kept()
    async with (
        peers.serving(half) as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        asking() as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(f"{base}/v1/messages", json={})


async def test_when_the_agent_is_gone_the_model_stops_too() -> None:
    """Tokens that nobody reads are paid for."""
    gone = asyncio.Event()

    async def endless(request: peers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        assert await request.more.read() == b""
        gone.set()

    kept = peers.Kept()
    async with peers.serving(endless) as server, gatewaying(kept, f"http://127.0.0.1:{server.port}") as base:
        async with asking() as client, client.stream("POST", f"{base}/v1/messages", json={}) as answer:
            assert await anext(answer.aiter_raw()) == b"abc"
        async with asyncio.timeout(30):
            await gone.wait()
        (ended,) = await kept.until_ended()
    assert ended.bytes_down == 3


async def test_large_requests_pass_in_both_framings() -> None:
    kept = peers.Kept()
    body = bytes(range(256)) * 4096 * 3

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    async with (
        peers.serving() as server,
        gatewaying(kept, f"http://127.0.0.1:{server.port}") as base,
        asking() as client,
    ):
        await client.post(f"{base}/v1/messages", content=body)
        await client.post(f"{base}/v1/messages", content=pieces())
    assert [request.body == body for request in server.requests] == [True, True]


def test_neither_the_key_nor_the_placeholder_is_in_a_repr() -> None:
    api = gateway.ModelApi("/model", "https://api.example.com", "x-api-key", SECRET, PLACEHOLDER)
    assert SECRET not in repr(api)
    assert PLACEHOLDER not in repr(api)


def test_the_totals_of_a_turn_are_its_connections() -> None:
    kept = peers.Kept()
    journal = kept.journal()
    entry = journal.allow("model", "api.example.com", 443, Why.MODEL)
    entry.up, entry.down = 10, 20
    entry.ended()
    entry.ended()
    for port in (1, 2):
        journal.refuse("connect", "evil.example.org", port, Why.NOT_LISTED)
    assert journal.totals == evidence.Totals(
        allowed=1, refused=2, model_requests=1, bytes_up=10, bytes_down=20, refused_hosts=("evil.example.org",)
    )
    assert [each.event for each in kept.records] == ["decided", "ended", "decided", "decided"]
