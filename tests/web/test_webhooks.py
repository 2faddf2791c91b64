import asyncio
import hashlib
import hmac
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from domain import errors, events
from integrations.forge import github_events
from store import engine, inbox
from tests.web.conftest import Clock, Waker
from web import app, body, dispatch

SECRET = "a webhook's secret"


def issue_payload(action: str, number: int = 7) -> bytes:
    return json.dumps(
        {
            "action": action,
            "issue": {"number": number, "title": "x", "labels": []},
            "repository": {"full_name": "acme/api"},
            "sender": {"login": "ada"},
        }
    ).encode()


def headers(payload: bytes, delivery: str = "d-1", event: str = "issues", secret: str = SECRET) -> dict[str, str]:
    return {
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest(),
        "x-github-delivery": delivery,
        "x-github-event": event,
        "content-type": "application/json",
    }


@asynccontextmanager
async def serving(store: engine.Store, clock: Clock, waker: Waker) -> AsyncIterator[int]:
    """The intake behind a real server on a port of its own; everything in hand is finished at the end."""
    dispatching = dispatch.Dispatcher(store.inbox, github_events.parse, waker, clock)
    intake = app.create_app(store.inbox, dispatching, SECRET, clock)
    server = uvicorn.Server(uvicorn.Config(intake, log_config=None, lifespan="on", timeout_graceful_shutdown=5))
    with socket.create_server(("127.0.0.1", 0)) as listening:  # connections queue here until the server accepts them
        serve = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serve


@dataclass
class Intake:
    port: int
    http: httpx.AsyncClient
    store: engine.Store
    clock: Clock

    async def deliver(self, payload: bytes, **changes: str) -> httpx.Response:
        return await self.http.post("/webhooks/github", content=payload, headers=headers(payload, **changes))

    async def stored(self) -> list[str]:
        kept = await self.store.inbox.unhandled(100, due_at=self.clock())
        return [each.delivery_id for each in kept]

    async def raw(self, request: bytes) -> bytes:
        """Send these bytes, keep the connection open, and return what comes back until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


@pytest_asyncio.fixture
async def intake(store: engine.Store, clock: Clock, waker: Waker) -> AsyncIterator[Intake]:
    async with (
        serving(store, clock, waker) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
    ):
        yield Intake(port, http, store, clock)


def head(payload: bytes, *more: str) -> bytes:
    lines = ["POST /webhooks/github HTTP/1.1", "host: x", *(f"{k}: {v}" for k, v in headers(payload).items()), *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def test_signed_delivery_is_accepted_and_wakes_its_run(intake: Intake, waker: Waker) -> None:
    answer = await intake.deliver(issue_payload("opened"))
    assert (answer.status_code, answer.json()) == (202, {"delivery": "d-1", "duplicate": False})
    woken = await waker.next()
    assert (woken.kind, str(woken.repo), woken.issue) == (events.Kind.WORK_REQUESTED, "acme/api", 7)
    assert (woken.delivery_id, woken.actor) == ("d-1", "ada")


async def test_answer_does_not_wait_for_the_run(intake: Intake, waker: Waker) -> None:
    """A forge gives a delivery ten seconds; a run that cannot be told must not use them up."""
    waker.gate.clear()
    assert (await intake.deliver(issue_payload("opened"))).status_code == 202
    assert waker.woken.empty()
    waker.gate.set()
    await waker.next()


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=" + "0" * 64,
        "sha1=" + "0" * 40,
        "sha256=ü",
        headers(issue_payload("closed"))["x-hub-signature-256"],
        headers(issue_payload("opened"), secret="another secret")["x-hub-signature-256"],
    ],
)
async def test_missing_or_forged_signature_is_refused_and_nothing_is_stored(intake: Intake, signature: str) -> None:
    payload = issue_payload("opened")
    forged = {**headers(payload), "x-hub-signature-256": signature.encode()}
    answer = await intake.http.post("/webhooks/github", content=payload, headers=forged)
    assert answer.status_code == 401
    assert "X-Hub-Signature-256" in answer.json()["error"]
    assert await intake.stored() == []


async def test_signature_is_checked_before_anything_is_parsed(intake: Intake) -> None:
    answer = await intake.http.post(
        "/webhooks/github", content=b"{not json", headers={"x-hub-signature-256": "sha256=" + "0" * 64}
    )
    assert answer.status_code == 401


async def test_unsigned_body_is_not_read(intake: Intake) -> None:
    answer = await intake.raw(b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe{}", b'{"a": NaN', b"[" * 200_000, b'{"a": "\0"}']
)
async def test_body_that_is_no_json_object_is_refused(intake: Intake, payload: bytes) -> None:
    answer = await intake.deliver(payload)
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]
    assert await intake.stored() == []


@pytest.mark.parametrize("missing", ["x-github-delivery", "x-github-event"])
@pytest.mark.parametrize("value", [None, "", "two words", "x" * 101])
async def test_delivery_without_id_or_event_is_refused(intake: Intake, missing: str, value: str | None) -> None:
    payload = issue_payload("opened")
    given = {name: text for name, text in headers(payload).items() if name != missing}
    if value is not None:
        given[missing] = value
    answer = await intake.http.post("/webhooks/github", content=payload, headers=given)
    assert answer.status_code == 400
    assert missing in answer.json()["error"].lower()


async def test_body_over_25_mib_is_refused_while_it_is_sent(intake: Intake) -> None:
    payload = b'{"a":"' + b"x" * (body.LIMIT - 7) + b'"}'
    assert len(payload) == body.LIMIT + 1

    def send() -> tuple[int, bytes]:
        """How much was taken, and the answer: the server closes early, so a sender that insists is cut off."""
        with socket.create_connection(("127.0.0.1", intake.port), timeout=20) as connection:
            connection.sendall(head(payload, f"content-length: {len(payload)}"))
            taken = 0
            with suppress(ConnectionError):
                while taken < len(payload):
                    taken += connection.send(payload[taken : taken + 65536])
            return taken, connection.recv(65536)

    taken, answer = await asyncio.to_thread(send)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert taken < len(payload)
    assert await intake.stored() == []


async def test_declared_length_over_the_limit_is_refused_before_the_body(intake: Intake) -> None:
    answer = await intake.raw(head(b"", f"content-length: {body.LIMIT + 1}"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


async def test_body_without_a_length_is_read_no_further_than_the_limit(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "LIMIT", 1000)
    # The chunked body never ends: an answer proves that nobody waited for its end.
    answer = await intake.raw(head(b"", "transfer-encoding: chunked") + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("size", "status"), [(1000, 202), (1001, 413)])
async def test_limit_itself_is_accepted(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, size: int, status: int
) -> None:
    monkeypatch.setattr(body, "LIMIT", 1000)
    assert (await intake.deliver(b'{"a":"' + b"x" * (size - 8) + b'"}')).status_code == status


async def test_chunked_body_is_accepted(intake: Intake, waker: Waker) -> None:
    payload = issue_payload("opened")

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(payload), 10):
            yield payload[at : at + 10]

    answer = await intake.http.post("/webhooks/github", content=parts(), headers=headers(payload))
    assert answer.status_code == 202
    assert (await waker.next()).issue == 7


async def test_body_that_does_not_arrive_in_time_is_given_up(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SECONDS", 0.1)
    payload = issue_payload("opened")
    answer = await intake.raw(head(payload, f"content-length: {len(payload)}") + payload[:10])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert await intake.stored() == []


@pytest.mark.parametrize("length", ["many", "-1", "1e3", "12, 13", "9" * 5000])
async def test_malformed_content_length_is_refused_and_the_server_goes_on(intake: Intake, length: str) -> None:
    answer = await intake.raw(head(b"{}", f"content-length: {length}") + b"{}")
    assert answer.split(b" ")[1] in {b"400", b"413"}
    assert (await intake.deliver(issue_payload("opened"))).status_code == 202


async def test_sender_that_goes_away_leaves_nothing_behind(intake: Intake, waker: Waker) -> None:
    payload = issue_payload("opened")
    _, writer = await asyncio.open_connection("127.0.0.1", intake.port)
    writer.write(head(payload, f"content-length: {len(payload)}") + payload[:10])
    await writer.drain()
    writer.close()
    await intake.deliver(issue_payload("opened", 8), delivery="d-2")
    assert (await waker.next()).issue == 8
    assert "d-1" not in await intake.stored()


async def test_five_duplicates_wake_one_run_once(store: engine.Store, clock: Clock, waker: Waker) -> None:
    waker.gate.clear()
    async with serving(store, clock, waker) as port:
        answers = await asyncio.gather(*(_post(port, issue_payload("opened")) for _ in range(5)))
        waker.gate.set()
        await waker.next()
        await _post(port, issue_payload("opened", 8), delivery="d-2")
        assert (await waker.next()).issue == 8
    assert [answer.status_code for answer in answers] == [202] * 5
    assert waker.asked.qsize() == 2


async def test_delivery_that_was_handled_is_answered_as_a_duplicate(
    store: engine.Store, clock: Clock, waker: Waker
) -> None:
    payload = issue_payload("opened")
    duplicates = []
    for _ in range(2):  # the end of the block waits until the delivery was handled
        async with serving(store, clock, waker) as port:
            answer = await _post(port, payload)
            duplicates.append((answer.status_code, answer.json()["duplicate"]))
            if len(duplicates) == 1:
                await waker.next()
    assert duplicates == [(202, False), (202, True)]
    assert waker.woken.empty()


async def test_deliveries_out_of_order_are_all_handed_over(intake: Intake, waker: Waker) -> None:
    """No forge promises an order: what was closed first and opened later may arrive the other way round."""
    await intake.deliver(issue_payload("closed"), delivery="d-2")
    await intake.deliver(issue_payload("opened"), delivery="d-1")
    woken = {(event.delivery_id, event.kind) for event in [await waker.next(), await waker.next()]}
    assert woken == {("d-2", events.Kind.WORK_WITHDRAWN), ("d-1", events.Kind.WORK_REQUESTED)}


async def test_unknown_event_is_stored_and_ignored(store: engine.Store, clock: Clock, waker: Waker) -> None:
    async with serving(store, clock, waker) as port:
        assert (await _post(port, b'{"zen": "x"}', delivery="d-1", event="something_new")).status_code == 202
        await _post(port, issue_payload("opened"), delivery="d-2")
        assert (await waker.next()).delivery_id == "d-2"
    again = await store.inbox.receive(
        source=app.SOURCE, delivery_id="d-1", event="something_new", payload="{}", received_at=clock()
    )
    assert again is inbox.Receipt.HANDLED


async def test_inbox_that_cannot_be_written_asks_for_another_delivery(
    tmp_path: Any, clock: Clock, waker: Waker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 202 would be a lie: nobody would deliver it again."""
    monkeypatch.setattr("store.database._WAIT_SECONDS", 1.0)  # the dispatcher writes, too, and is waited for as long
    store = await engine.open_store(f"sqlite:///{tmp_path}/fettle.db")
    async with serving(store, clock, waker) as port:
        other = sqlite3.connect(tmp_path / "fettle.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused = await _post(port, issue_payload("opened"))
        other.close()
        accepted = await _post(port, issue_payload("opened"))
        assert (await waker.next()).issue == 7
    await store.aclose()
    assert (refused.status_code, refused.headers["retry-after"], accepted.status_code) == (503, "30", 202)


async def test_health_tells_life_and_readiness_apart(store: engine.Store, clock: Clock, waker: Waker) -> None:
    async with (
        serving(store, clock, waker) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
    ):
        assert (await http.get("/readyz")).json() == {"ready": True}
        async with store.database.writing() as connection:
            await connection.exec_driver_sql("ALTER TABLE deliveries RENAME TO away")
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "store": "unavailable"})
        assert (await http.get("/healthz")).status_code == 200


async def test_a_browser_is_told_what_this_is_and_nothing_else(intake: Intake) -> None:
    await intake.deliver(issue_payload("opened"))
    page = await intake.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for words in ("webhook intake", "/healthz", "fettle fleet"):
        assert words in page.text
    assert "acme" not in page.text


async def test_intake_without_its_dispatcher_is_not_ready(store: engine.Store, clock: Clock, waker: Waker) -> None:
    stopped = dispatch.Dispatcher(store.inbox, github_events.parse, waker, clock)
    transport = httpx.ASGITransport(app.create_app(store.inbox, stopped, SECRET, clock))  # without its lifespan
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "dispatcher": "not running"})


def test_intake_without_a_secret_is_refused(store: engine.Store, clock: Clock, waker: Waker) -> None:
    dispatching = dispatch.Dispatcher(store.inbox, github_events.parse, waker, clock)
    with pytest.raises(errors.ConfigurationError, match="webhook_secret is empty"):
        app.create_app(store.inbox, dispatching, " ", clock)


async def _post(port: int, payload: bytes, **changes: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        return await http.post("/webhooks/github", content=payload, headers=headers(payload, **changes))
