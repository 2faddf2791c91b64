"""Servers on loopback that the proxy talks to, and clients that talk to it: real sockets, real TLS."""

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.egress import evidence


@dataclass
class Authority:
    """A certificate for some names, and the contexts of a server that has it and a client that trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    path: Path


def authority(folder: Path, *names: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName(name) for name in names]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([*alternatives, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return Authority(server, ssl.create_default_context(cafile=str(path)), path)


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    more: asyncio.StreamReader
    """What the client sends after its request: nothing, and then its end."""


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """An HTTP server that keeps what it was asked. Every answer closes its connection."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0


async def hello(request: Request, writer: asyncio.StreamWriter) -> None:
    text = b"hello"
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text))
    if request.method != "HEAD":
        writer.write(text)


@asynccontextmanager
async def serving(answer: Answer = hello, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    found = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with suppress(asyncio.IncompleteReadError, OSError):
            request = await _read(reader)
            found.requests.append(request)
            await answer(request, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


@contextmanager
def refusing() -> Iterator[int]:
    """A port where nobody listens. It stays taken, so that nobody else begins to meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        yield port


async def _read(reader: asyncio.StreamReader) -> Request:
    start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    method, target, _ = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, reader)


@dataclass
class Kept:
    """The evidence of a journal, parsed."""

    lines: list[bytes] = field(default_factory=list)
    _written: asyncio.Event = field(default_factory=asyncio.Event)

    def journal(self, **more: int) -> evidence.Journal:
        return evidence.Journal(self._append, **more)

    def _append(self, line: bytes) -> None:
        self.lines.append(line)
        self._written.set()

    @property
    def records(self) -> list[evidence.Record]:
        return [evidence.Record.model_validate_json(line) for line in self.lines]

    def decisions(self) -> list[tuple[str, int, str, str]]:
        return [(each.host, each.port, each.verdict, each.why) for each in self.records if each.event == "decided"]

    def totals_are(self, *, allowed: int, refused: int) -> bool:
        verdicts = [each.verdict for each in self.records if each.event == "decided"]
        return (verdicts.count("allowed"), verdicts.count("refused")) == (allowed, refused)

    async def until_ended(self, count: int = 1) -> list[evidence.Record]:
        """The closing lines, once there are so many; the proxy writes them after the client has seen the end."""
        async with asyncio.timeout(20):
            while len(ended := [each for each in self.records if each.event == "ended"]) < count:
                self._written.clear()
                await self._written.wait()
        return ended


async def resolve_to_loopback(host: str, port: int) -> list[str]:
    """A resolver under which every name is this machine."""
    return ["127.0.0.1"]


async def ask(port: int, raw: bytes, *, end: bool = False) -> bytes:
    """Send bytes to the proxy and read until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        if end:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read(-1)
    finally:
        writer.close()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def content(answer: bytes) -> bytes:
    return answer.split(b"\r\n\r\n", 1)[1]


def message(answer: bytes) -> str:
    found: str = json.loads(content(answer))["error"]["message"]
    return found


async def tunnel(
    port: int, target: str, tls: ssl.SSLContext, name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection through CONNECT. Raises ConnectionError with the proxy's answer when it says no."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if status(answer) != 200:
        writer.close()
        raise ConnectionError(answer.decode())
    await writer.start_tls(tls, server_hostname=name)
    return reader, writer
