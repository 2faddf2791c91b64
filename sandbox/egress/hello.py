"""The server name in a TLS client's first message, read without answering it.

A tunnel to an allowed host is not yet a connection to it: behind one address may be many hosts, and the first message
says which one is meant. It has to be the one that was asked for.
"""

import asyncio
from typing import Final

from sandbox.egress.rules import host_name
from sandbox.egress.verdicts import Denied, Why

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_LARGEST_RECORD: Final = 16 * 1024
_LARGEST_HELLO: Final = 64 * 1024


class _Cursor:
    """Reads length-prefixed fields. Raises IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IndexError("the message ends within a field")
        piece, self._at = self._data[self._at : end], end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def field(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def more(self) -> bool:
        return self._at < len(self._data)


async def read(reader: asyncio.StreamReader, host: str) -> bytes:
    """The bytes of the client's first message, to be sent on as they are.

    Raises:
        Denied: it is no TLS, names no server, or another one than `host`.
    """
    raw, message = b"", b""
    try:
        while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
            record = await reader.readexactly(5)
            size = int.from_bytes(record[3:], "big")
            if record[0] != _HANDSHAKE or record[1] != 3 or not 0 < size <= _LARGEST_RECORD:
                raise _refused(host, "no TLS")
            body = await reader.readexactly(size)
            raw, message = raw + record + body, message + body
            if message[0] != _CLIENT_HELLO or len(message) > _LARGEST_HELLO:
                raise _refused(host, "no TLS greeting")
        named = host_name(server_name(message).decode("ascii"))
    except (asyncio.IncompleteReadError, IndexError, UnicodeDecodeError) as error:
        raise _refused(host, "no TLS greeting that names a server") from error
    except Denied as refused:
        if refused.why is Why.SERVER_NAME:
            raise
        raise _refused(host, "a greeting for no plain name") from refused
    if named != host:
        raise _refused(host, f"a greeting for {named}")
    return raw


def server_name(message: bytes) -> bytes:
    """The one host name of a ClientHello handshake message.

    Raises:
        IndexError: the message is cut short, or names no host or several.
    """
    cursor = _Cursor(message)
    if cursor.number(1) != _CLIENT_HELLO:
        raise IndexError("another message")
    cursor = _Cursor(cursor.field(3))
    cursor.take(2 + 32)  # version, random
    cursor.field(1)  # session id
    cursor.field(2)  # cipher suites
    cursor.field(1)  # compression methods
    extensions = _Cursor(cursor.field(2))
    found: list[bytes] = []
    while extensions.more:
        kind, body = extensions.number(2), extensions.field(2)
        if kind == _SERVER_NAME:
            entries = _Cursor(_Cursor(body).field(2))
            while entries.more:
                entries.take(1)  # its kind; only host names were ever defined
                found.append(entries.field(2))
    if len(found) != 1:
        raise IndexError("names no host, or several")
    return found[0]


def _refused(host: str, found: str) -> Denied:
    return Denied(
        Why.SERVER_NAME,
        f"a tunnel to {host} was opened, {found} came through it: speak TLS to that host and name it",
    )
