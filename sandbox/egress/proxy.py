"""The proxy of one turn: a listener that only the turn's sandbox can reach, and what each request on it becomes."""

import asyncio
import base64
import hmac
import os
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from sandbox.egress import addresses, evidence, forwarding, gateway, messages, rules
from sandbox.egress.verdicts import Denied, Why

USER: Final = "fettle"
"""The user name before the turn's password in a proxy address."""
_MOST_CONNECTIONS: Final = 256
_BACKLOG: Final = 128
_BETWEEN_REQUESTS_SECONDS: Final = 300.0


class Proxy:
    """Serves while one of its two contexts lasts; every connection ends with it.

    Args:
        password: What a client must show to pass (TCP: any process of the host can knock). Empty: none, the socket's
            folder is the door.
        tls: For the model APIs; None: the usual certificates.
    """

    def __init__(
        self,
        decided: rules.Rules,
        journal: evidence.Journal,
        apis: Sequence[gateway.ModelApi] = (),
        *,
        password: str = "",
        resolve: addresses.Resolve = addresses.system_resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._journal = journal
        self._forwarder = forwarding.Forwarder(decided, journal, resolve)
        self._gateway = gateway.Gateway(apis, journal, tls=tls)
        self._password = password
        self._open: set[asyncio.Task[None]] = set()
        self._own_authorities: frozenset[str] = frozenset()

    @asynccontextmanager
    async def on_socket(self, path: Path, seen_port: int) -> AsyncIterator[None]:
        """Listen on a Unix socket.

        Args:
            path: Only this user may connect; a level that runs programs as another one gives the socket away. What
                stands there is replaced.
            seen_port: The loopback port at which the sandbox sees it.
        """
        own = _bound(path)
        self._own_authorities = _authorities(seen_port)
        try:
            async with self._serving(
                await asyncio.start_unix_server(self._accept, sock=own, limit=messages.LARGEST_HEAD)
            ):
                yield
        finally:
            _remove(path)

    @asynccontextmanager
    async def on_loopback(self) -> AsyncIterator[int]:
        """Listen on a free port of 127.0.0.1, and say which."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=messages.LARGEST_HEAD, backlog=_BACKLOG)
        port: int = server.sockets[0].getsockname()[1]
        self._own_authorities = _authorities(port)
        async with self._serving(server):
            yield port

    @asynccontextmanager
    async def _serving(self, server: asyncio.Server) -> AsyncIterator[None]:
        try:
            yield
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._gateway.aclose()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST_CONNECTIONS:
            writer.close()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._requests(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # a client that does not read must not keep what is left of its answer alive
            raise
        finally:
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, seconds = "", messages.HEAD_SECONDS
        try:
            while head := await self._read_head(reader, seconds):
                method, seconds = head.method, _BETWEEN_REQUESTS_SECONDS
                if not await self._one(head, reader, writer):
                    return
        except Denied as refused:
            await messages.say_and_linger(reader, writer, _refusal(refused, method))

    async def _read_head(self, reader: asyncio.StreamReader, seconds: float) -> messages.Head | None:
        try:
            return await messages.read_head(reader, seconds)
        except Denied as refused:
            self._journal.refuse("none", "", 0, refused.why)
            raise

    async def _one(self, head: messages.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. False: the connection is used up."""
        own = head if head.target.startswith("/") else self._to_itself(head)
        if own is not None:
            return await self._gateway.handle(own, reader, writer)
        self._check_password(head)
        forward = self._forwarder.tunnel if head.method == "CONNECT" else self._forwarder.plain
        await forward(head, (reader, writer))
        return False

    def _to_itself(self, head: messages.Head) -> messages.Head | None:
        """The request that a client sends through the proxy to the proxy, because it minds no NO_PROXY."""
        scheme, slashes, rest = head.target.partition("://")
        authority, slash, path = rest.partition("/")
        if head.method == "CONNECT" or not slashes or scheme.lower() != "http" or not slash:
            return None
        if authority.lower() not in self._own_authorities:
            return None
        return messages.Head(head.method, f"/{path}", head.minor, head.headers)

    def _check_password(self, head: messages.Head) -> None:
        if not self._password:
            return
        wanted = base64.b64encode(f"{USER}:{self._password}".encode())
        scheme, _, shown = head.first("proxy-authorization").partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(shown.strip().encode("utf-8", "replace"), wanted):
            self._journal.refuse("none", "", 0, Why.CREDENTIALS, method=head.method)
            raise Denied(
                Why.CREDENTIALS,
                "the proxy's password is missing or wrong: use the proxy address of the environment",
                407,
            )


def _refusal(refused: Denied, method: str) -> bytes:
    if refused.why in (Why.PATH, Why.CREDENTIALS) and refused.status != 407:
        kind = "authentication_error" if refused.status == 401 else "permission_error"
        return gateway.error_answer(refused.status, kind, str(refused))
    also = (("proxy-authenticate", 'Basic realm="fettle"'),) if refused.status == 407 else ()
    return messages.answer(refused.status, f"Fettle's egress proxy: {refused}\n", method=method, also=also)


def _authorities(port: int) -> frozenset[str]:
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))


def _bound(path: Path) -> socket.socket:
    """A socket at this path. It is bound by way of its folder's descriptor: an address of a Unix socket has room for
    107 bytes, and a state directory may be deeper."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove(path)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        own.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o600)
    except BaseException:
        own.close()
        raise
    finally:
        os.close(folder)
    return own


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
