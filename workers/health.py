"""What a pod's probes ask a worker: whether its event loop turns, and whether Temporal answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from temporalio import client, service

from workers import http_server


def create_app(temporal: client.Client) -> Starlette:
    """`/healthz` is liveness: it says nothing of recent work, so that an idle fleet is not restarted. `/readyz` also
    asks Temporal, whose absence no restart of ours would mend."""

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> JSONResponse:
        answers = False
        with suppress(service.RPCError, TimeoutError):
            answers = await temporal.service_client.check_health(timeout=timedelta(seconds=3))
        return JSONResponse({"ready": answers}, status_code=200 if answers else 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


@asynccontextmanager
async def serving(address: str, temporal: client.Client) -> AsyncIterator[None]:
    """Answer probes at `address` while the context lasts; an empty address listens nowhere.

    Raises:
        errors.ConfigurationError: the address is in use or is not ours.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    async with http_server.listening(create_app(temporal), host.strip("[]"), int(port)):
        yield
