"""An ASGI application served inside a worker's own event loop, which keeps the signals to itself."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from domain import errors

_LOOK_SECONDS: Final = 0.02
_GRACE_SECONDS: Final = 5


@asynccontextmanager
async def listening(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts, from the moment the socket listens.

    Raises:
        errors.ConfigurationError: the address is in use or is not ours.
    """
    with _bound(host, port) as bound:
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS)
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers a flag, not an event
                await asyncio.sleep(_LOOK_SECONDS)
            yield
        finally:
            server.should_exit = True
            await task


def _bound(host: str, port: int) -> socket.socket:
    """uvicorn would end the process over an address that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as refused:
        raise errors.ConfigurationError(
            f"{host}:{port} cannot be listened on ({refused.strerror}): end the process that has it, or name another "
            "address"
        ) from refused


class _Server(uvicorn.Server):
    """Signals belong to the worker: it has to stop its activities before it goes."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
