"""Connections to allowed hosts: a TLS tunnel (CONNECT), and one plain HTTP request."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sandbox.egress import addresses, carry, evidence, hello, messages, rules
from sandbox.egress.verdicts import Denied, Why

_HTTP = 80
_HELLO_SECONDS = 20.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Forwarder:
    """Decides, records, connects to the address that was checked, and carries."""

    rules: rules.Rules
    journal: evidence.Journal
    resolve: addresses.Resolve = addresses.system_resolve

    async def tunnel(self, head: messages.Head, client: Streams) -> None:
        """Answer one CONNECT and carry until it ends.

        Raises:
            Denied: recorded; the client has had no answer yet.
        """
        host, port = "", 0
        try:
            given, port = _authority(head.target, None)
            host = given
            host = rules.host_name(given)
            found = await addresses.checked(host, port, self.resolve, private=self.rules.check(host, port))
            entry = self.journal.allow("connect", host, port, Why.LISTED, method=head.method, address=found[0])
        except Denied as refused:
            self.journal.refuse("connect", host, port, refused.why, method=head.method)
            raise
        try:
            _, reader, writer = await addresses.connect(found, port)
        except Denied as refused:
            entry.ended(refused)
            raise
        try:
            await self._through(host, client, (reader, writer), entry)
        finally:
            entry.ended()
            writer.close()

    async def _through(self, host: str, client: Streams, server: Streams, entry: evidence.Entry) -> None:
        client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await client[1].drain()
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                greeting = await hello.read(client[0], host)
        except TimeoutError:
            return
        except Denied as refused:
            entry.ended(refused)  # the client was told 200; all that is left to say is the end
            return
        entry.up += len(greeting)
        server[1].write(greeting)

        def up(count: int) -> None:
            entry.up += count

        def down(count: int) -> None:
            entry.down += count

        await carry.both_ways(client, server, up, down)

    async def plain(self, head: messages.Head, client: Streams) -> None:
        """Pass on one request to `http://host…` and its answer; the connection is used up then.

        Raises:
            Denied: recorded; the client has had no answer yet.
        """
        host, port, path = "", 0, ""
        try:
            parts = _plain_url(head.target)
            path = parts.path
            host, port = _authority(parts.netloc, _HTTP)
            host = rules.host_name(host)
            length = head.length
            found = await addresses.checked(host, port, self.resolve, private=self.rules.check(host, port))
            entry = self.journal.allow("http", host, port, Why.LISTED, method=head.method, path=path, address=found[0])
        except Denied as refused:
            self.journal.refuse("http", host, port, refused.why, method=head.method, path=path)
            raise
        try:
            _, reader, writer = await addresses.connect(found, port)
        except Denied as refused:
            entry.ended(refused)
            raise
        try:
            # The host that was decided on is the one that the server hears, whatever the client's own header says.
            named = host if port == _HTTP else f"{host}:{port}"
            target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            await self._exchange(head, length, (target, named), client, (reader, writer), entry)
        finally:
            entry.ended()
            writer.close()

    async def _exchange(
        self,
        head: messages.Head,
        length: int | None,
        asked_for: tuple[str, str],
        client: Streams,
        server: Streams,
        entry: evidence.Entry,
    ) -> None:
        target, named = asked_for
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        kept = head.end_to_end("host", "content-length", "expect")
        headers = (("host", named), *kept, *((framing,) if length != 0 or head.method == "POST" else ()))
        server[1].write(messages.encode(f"{head.method} {target} HTTP/1.1", (*headers, ("connection", "close"))))
        if head.values("expect"):
            client[1].write(b"HTTP/1.1 100 Continue\r\n\r\n")
        asked = asyncio.Event()

        def down(count: int) -> None:
            entry.down += count

        async def exchange() -> None:
            async for piece in messages.body(client[0], length):
                entry.up += len(piece)
                server[1].write(messages.as_chunk(piece) if length is None else piece)
                await server[1].drain()
            if length is None:
                server[1].write(messages.as_chunk(b""))
            asked.set()
            await carry.until_closed(server[0], client[1], down)

        with suppress(OSError, asyncio.IncompleteReadError, carry.ClientLeft):
            await carry.while_present(client[0], asked, exchange())


def _authority(text: str, port: int | None) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        Denied: it is neither, or `port` is None and the text has none.
    """
    host, colon, digits = text.rpartition(":")
    if not colon or host.endswith(":") or text.endswith("]"):  # no port, or an IPv6 address, which is refused by name
        host, digits = text, "" if port is None else str(port)
    number = int(digits) if re.fullmatch("[0-9]{1,5}", digits, re.ASCII) else 0
    if "@" in text or not 0 < number < 65536 or not host:
        raise messages.malformed(f"'{text[:80]}' is no host:port")
    return host, number


def _plain_url(target: str) -> SplitResult:
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise messages.malformed("its address is none") from error
    if parts.scheme.lower() != "http":
        raise Denied(
            Why.SCHEME, f"'{parts.scheme[:20]}' addresses do not pass this proxy: ask for https by CONNECT, or for http"
        )
    return parts
