"""HTTP/1.1 as the proxy accepts it: one strict reading of heads and bodies, so that nobody behind it reads another."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from sandbox.egress.verdicts import Denied, Why

LARGEST_HEAD: Final = 64 * 1024
CHUNK: Final = 64 * 1024
_MOST_HEADERS: Final = 200
_LARGEST_BODY: Final = 256 * 1024 * 1024
HEAD_SECONDS: Final = 30.0
_LINGER_BYTES: Final = 4 * 1024 * 1024
_LINGER_SECONDS: Final = 2.0

_START: Final = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]{1,16384}) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\x20-\x7e\t\x80-\xff]*)")
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\x20-\x7e\t]{0,1000})?\r\n")
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Head:
    """A request's first line and its headers; their names are in small letters."""

    method: str
    target: str
    minor: int
    headers: Headers

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]

    def first(self, name: str) -> str:
        return next(iter(self.values(name)), "")

    @property
    def keeps_alive(self) -> bool:
        said = {word.strip().lower() for value in self.values("connection") for word in value.split(",")}
        return self.minor == 1 and "close" not in said

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when it comes in chunks.

        Raises:
            Denied: the headers can be read in two ways.
        """
        lengths, codings = set(self.values("content-length")), self.values("transfer-encoding")
        if codings:
            if lengths or [each.lower() for each in codings] != ["chunked"] or self.minor == 0:
                raise malformed("its headers give two lengths of the body")
            return None
        if not lengths:
            return 0
        (only, *others) = lengths
        if others or not re.fullmatch(r"[0-9]{1,12}", only, re.ASCII):
            raise malformed("its Content-Length is no number")
        if int(only) > _LARGEST_BODY:
            raise Denied(Why.MALFORMED, f"a body of {only} bytes, the largest is {_LARGEST_BODY}: send less", 413)
        return int(only)

    def end_to_end(self, *but: str) -> Headers:
        """The headers that are meant for the server, without those in `but`."""
        return end_to_end(self.headers, but)


def end_to_end(headers: Iterable[tuple[str, str]], but: Iterable[str] = ()) -> Headers:
    """Headers without those between two neighbours, those that `Connection` names, and those in `but`."""
    headers = tuple(headers)
    named = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
    dropped = _HOP_BY_HOP | named | set(but)
    return tuple((name, value) for name, value in headers if name not in dropped and not name.startswith("proxy-"))


async def read_head(reader: asyncio.StreamReader, first_byte_seconds: float = HEAD_SECONDS) -> Head | None:
    """The next request's head; None when the client sends no more, or nothing within `first_byte_seconds`.

    Raises:
        Denied: it is too large, too slow, or no HTTP/1.
    """
    try:
        async with asyncio.timeout(first_byte_seconds):
            first = await reader.readexactly(1)
    except (TimeoutError, asyncio.IncompleteReadError):
        return None
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            raw = first + await reader.readuntil(b"\r\n\r\n")
    except TimeoutError as error:
        raise Denied(
            Why.MALFORMED, f"the request's head took over {HEAD_SECONDS:.0f} s: send it at once", 408
        ) from error
    except asyncio.LimitOverrunError as error:
        raise Denied(Why.MALFORMED, f"the request's head is over {LARGEST_HEAD} bytes: send less", 431) from error
    except asyncio.IncompleteReadError as error:
        raise malformed("it ends within its head") from error
    return parse_head(raw)


def parse_head(raw: bytes) -> Head:
    """Raises Denied unless this is one whole head, its two line ends included, and can be read in one way only."""
    start, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _START.fullmatch(start)
    if match is None or len(lines) > _MOST_HEADERS:
        raise malformed("its first line is none, or it has too many headers")
    fields = [_FIELD.fullmatch(line) for line in lines]
    headers = tuple(
        (each[1].decode("ascii").lower(), each[2].strip(b" \t").decode("latin-1")) for each in fields if each
    )
    if len(headers) != len(lines):
        raise malformed("a header line is none")
    return Head(match[1].decode("ascii"), match[2].decode("ascii"), int(match[3]), headers)


async def body(reader: asyncio.StreamReader, length: int | None) -> AsyncIterator[bytes]:
    """The body's content as it comes, without its framing.

    Args:
        length: As `Head.length` said; None for chunks.

    Raises:
        Denied: it is too large, or its framing is none.
        IncompleteReadError: the client left.
    """
    if length is not None:
        async for piece in _exactly(reader, length):
            yield piece
        return
    total = 0
    while True:
        match = _SIZE_LINE.fullmatch(await _line(reader))
        if match is None:
            raise malformed("a chunk's size is none")
        size = int(match[1], 16)
        total += size
        if total > _LARGEST_BODY:
            raise Denied(Why.MALFORMED, f"the body is over {_LARGEST_BODY} bytes: send less", 413)
        if size == 0:
            break
        async for piece in _exactly(reader, size):
            yield piece
        if await reader.readexactly(2) != b"\r\n":
            raise malformed("a chunk is longer than its size")
    for _ in range(_MOST_HEADERS):
        if await _line(reader) == b"\r\n":
            return  # trailers are dropped: no model API and no registry needs one
    raise malformed("its trailers do not end")


def as_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; of no data, the end of it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode(start: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def answer(status: int, text: str, *, method: str = "", kind: str = "text/plain", also: Headers = ()) -> bytes:
    """A whole answer after which the connection closes."""
    content = text.encode()
    head = encode(
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        (
            ("content-type", f"{kind}; charset=utf-8"),
            ("content-length", str(len(content))),
            ("connection", "close"),
            *also,
        ),
    )
    return head if method == "HEAD" else head + content


async def say_and_linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send the last answer and read on for a moment: closing on unread data makes the client lose the answer."""
    with suppress(OSError, RuntimeError):
        writer.write(data)
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    read = 0
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while read < _LINGER_BYTES and (piece := await reader.read(CHUNK)):
                read += len(piece)


def malformed(what: str) -> Denied:
    return Denied(Why.MALFORMED, f"the request cannot be read, {what}: send HTTP/1.1", 400)


async def _exactly(reader: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    while count:
        piece = await reader.read(min(count, CHUNK))
        if not piece:
            raise asyncio.IncompleteReadError(b"", count)
        count -= len(piece)
        yield piece


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise malformed("a line of its body's framing is too long") from error
