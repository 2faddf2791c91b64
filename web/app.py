"""The webhook intake: verify, store, answer; the dispatcher does the rest after the answer."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from domain import errors
from integrations.forge import github_events
from store import database, inbox
from web import body, dispatch

SOURCE: Final = "github"
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_CLOSE: Final = {"connection": "close"}
"""For answers to a body that was not read to its end: the server closes instead of reading on."""

_FRONT: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Fettle: webhook intake</title>
<h1>Fettle: webhook intake</h1>
<p>A forge delivers its webhooks here, to <code>/webhooks/github</code>. There is nothing to look at.</p>
<p>Health: <a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a>.
The runs: <code>fettle fleet</code> in a terminal.</p>
</html>
"""
_FRONT_HEADERS: Final = {"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"}

_log = structlog.stdlib.get_logger(__name__)


def create_app(
    inbox: inbox.Inbox, dispatcher: dispatch.Dispatcher, secret: str, clock: Callable[[], datetime]
) -> Starlette:
    """The intake as an ASGI application; the dispatcher runs as long as it does.

    Args:
        inbox: Where deliveries are kept.
        dispatcher: Started and stopped with the application.
        secret: The webhook's secret, as it is set on the forge.
        clock: The present time, aware.

    Raises:
        ConfigurationError: the secret is empty, so anybody could sign.
    """
    if not secret.strip():
        raise errors.ConfigurationError(
            "webhook_secret is empty, so no delivery could be verified: set webhook_secret or webhook_secret_file to "
            "the secret of the webhook on the forge"
        )
    intake = _Intake(inbox, dispatcher, secret, clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with dispatcher.running():
            yield

    return Starlette(
        routes=[
            Route("/", _front),
            Route("/webhooks/github", intake.receive, methods=["POST"]),
            Route("/healthz", _healthz),
            Route("/readyz", intake.readyz),
        ],
        lifespan=lifespan,
    )


@dataclass(frozen=True)
class _Intake:
    inbox: inbox.Inbox
    dispatcher: dispatch.Dispatcher
    secret: str
    clock: Callable[[], datetime]

    async def receive(self, request: Request) -> Response:
        signature = request.headers.get("x-hub-signature-256")
        if not signature:  # nobody's body is read for nothing
            return _refuse(401, "no X-Hub-Signature-256: set the webhook's secret on the forge", close=True)
        try:
            raw = await body.read(request)
        except body.TooLarge:
            return _refuse(413, f"the body has more than {body.LIMIT} bytes", close=True)
        except body.TooSlow:
            return _refuse(408, f"the body did not arrive within {body.SECONDS:g} s", close=True)
        except ClientDisconnect:
            return _refuse(400, "the body ended early", close=True)
        if not github_events.verify_signature(self.secret, raw, signature):
            return _refuse(401, "X-Hub-Signature-256 does not match the body: set the same secret on both sides")
        return await self._store(request, raw)

    async def _store(self, request: Request, raw: bytes) -> Response:
        delivery_id, event = (request.headers.get(name, "") for name in ("x-github-delivery", "x-github-event"))
        for name, value in (("X-GitHub-Delivery", delivery_id), ("X-GitHub-Event", event)):
            if not _WORD.fullmatch(value):
                return _refuse(400, f"{name} is missing, or is not a word of at most 100 characters")
        payload = _json_object(raw)
        if payload is None:
            return _refuse(400, "the body is not a JSON object: set the webhook's content type to application/json")
        try:
            receipt = await self.inbox.receive(
                source=SOURCE, delivery_id=delivery_id, event=event, payload=payload, received_at=self.clock()
            )
        except database.StoreUnavailable as failure:
            _log.error("webhook.not_stored", delivery=delivery_id, github_event=event, error=str(failure))
            return JSONResponse(
                {"error": "the delivery could not be stored: deliver it again"}, 503, headers={"retry-after": "30"}
            )
        duplicate = receipt is inbox.Receipt.HANDLED
        if not duplicate:
            self.dispatcher.notify()
        _log.info("webhook.received", delivery=delivery_id, github_event=event, receipt=receipt.value)
        return JSONResponse({"delivery": delivery_id, "duplicate": duplicate}, 202)

    async def readyz(self, _: Request) -> Response:
        """Ready: a delivery can be stored, and somebody hands it on."""
        problems = {} if self.dispatcher.alive else {"dispatcher": "not running"}
        try:
            await self.inbox.check()
        except database.StoreUnavailable:
            problems["store"] = "unavailable"
        return JSONResponse({"ready": not problems, **problems}, 503 if problems else 200)


async def _front(_: Request) -> Response:
    """For whoever opens the address in a browser. It names no run and no repository: anybody may read it."""
    return HTMLResponse(_FRONT, headers=_FRONT_HEADERS)


async def _healthz(_: Request) -> Response:
    """Alive: the event loop turns. Idle or without its store, a process is alive all the same."""
    return JSONResponse({"alive": True})


def _json_object(raw: bytes) -> str | None:
    """The text of a body that is a JSON object, else None."""
    try:
        text = raw.decode("utf-8")
        return text if isinstance(json.loads(text), dict) else None
    except (ValueError, RecursionError):  # no UTF-8, no JSON, or nested deeper than the parser goes
        return None


def _refuse(status: int, why: str, *, close: bool = False) -> Response:
    _log.warning("webhook.refused", status=status, why=why)
    return JSONResponse({"error": why}, status, headers=_CLOSE if close else None)
