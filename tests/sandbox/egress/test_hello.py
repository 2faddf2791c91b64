import asyncio
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.egress import hello
from sandbox.egress.verdicts import Denied, Why


def greeting(name: str | None) -> bytes:
    """What a real TLS client sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def read(data: bytes, host: str) -> bytes:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await hello.read(reader, host)


def in_records_of(raw: bytes, size: int) -> bytes:
    """The same handshake message in many small records, as some clients hide it from simple readers."""
    message = raw[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(raw[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


async def test_the_greeting_of_a_real_client_is_read_and_kept_byte_for_byte() -> None:
    raw = greeting("registry.example.com")
    assert await read(raw, "registry.example.com") == raw
    assert await read(greeting("Registry.Example.COM"), "registry.example.com")


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_a_greeting_in_many_records_is_the_same_greeting(size: int) -> None:
    raw = in_records_of(greeting("registry.example.com"), size)
    assert await read(raw, "registry.example.com") == raw
    with pytest.raises(Denied, match=r"a greeting for registry\.example\.com"):
        await read(raw, "other.example.com")


async def test_another_host_behind_an_allowed_name_is_refused() -> None:
    with pytest.raises(Denied, match=r"a greeting for code\.example\.org came through it") as refused:
        await read(greeting("code.example.org"), "registry.example.com")
    assert refused.value.why is Why.SERVER_NAME


async def test_a_greeting_that_names_no_server_is_refused() -> None:
    with pytest.raises(Denied, match="no TLS greeting that names a server"):
        await read(greeting(None), "registry.example.com")


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x00", b"", b"\x16"]
)
async def test_what_is_no_tls_is_refused(data: bytes) -> None:
    with pytest.raises(Denied) as refused:
        await read(data, "registry.example.com")
    assert refused.value.why is Why.SERVER_NAME


async def test_a_greeting_without_end_is_refused_before_it_fills_the_memory() -> None:
    endless = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(0x4000 - 4)
    with pytest.raises(Denied, match="no TLS greeting"):
        await read(endless + (b"\x16\x03\x01\x40\x00" + bytes(0x4000)) * 10, "registry.example.com")


@given(st.binary(max_size=400), st.integers(0, 300), st.binary(max_size=8))
def test_no_bytes_are_taken_for_a_greeting_to_a_host_that_they_do_not_name(
    noise: bytes, at: int, change: bytes
) -> None:
    raw = greeting("registry.example.com")
    for data in (noise, raw[:at] + change + raw[at + len(change) :], raw[: at + 1]):
        try:
            accepted = asyncio.run(read(data, "other.example.com"))
        except Denied:
            continue
        assert b"other.example.com" in accepted


@given(st.binary(max_size=600))
def test_a_message_is_read_to_a_name_or_an_index_error(message: bytes) -> None:
    try:
        name = hello.server_name(b"\x01" + message)
    except IndexError:
        return
    assert name in message
