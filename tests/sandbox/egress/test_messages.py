import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.egress import messages
from sandbox.egress.verdicts import Denied


def fed(data: bytes, *, limit: int = messages.LARGEST_HEAD) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=limit)
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def head(*lines: str, start: str = "POST /v1/messages HTTP/1.1") -> messages.Head:
    return messages.parse_head("\r\n".join([start, *lines, "", ""]).encode("latin-1"))


async def collected(data: bytes, length: int | None) -> bytes:
    return b"".join([piece async for piece in messages.body(fed(data), length)])


def test_names_are_small_and_values_are_trimmed() -> None:
    found = head("Host:  a.example \t", "X-Api-Key: k", "x-api-key: l")
    assert found.headers == (("host", "a.example"), ("x-api-key", "k"), ("x-api-key", "l"))
    assert (found.method, found.target, found.minor) == ("POST", "/v1/messages", 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rb: c\r\n\r\n",
        b"GET / HTTP/1.1\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 201 + b"\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_a_head_that_two_readers_could_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(Denied) as refused:
        messages.parse_head(raw)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("content-length: 5", "content-length: 6"),
        ("content-length: +5",),
        ("content-length: 5, 5",),
        ("content-length: ",),
        ("transfer-encoding: gzip, chunked",),
        ("transfer-encoding: chunked", "transfer-encoding: chunked"),
        ("transfer-encoding: xchunked",),
    ],
)
def test_two_lengths_of_one_body_are_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(Denied):
        _ = head(*lines).length


def test_a_body_beyond_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(Denied, match="the largest is") as refused:
        _ = head("content-length: 999999999999").length
    assert refused.value.status == 413


def test_headers_between_neighbours_go_no_further() -> None:
    found = head("Connection: close, X-Secret", "X-Secret: 1", "Upgrade: h2c", "Proxy-Authorization: p", "X-Kept: 2")
    assert found.end_to_end() == (("x-kept", "2"),)
    assert not found.keeps_alive


@pytest.mark.parametrize(
    "data",
    [
        b"5;a=b\r\nhello\r\n0\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: dropped\r\n\r\n",
        b"05\r\nhello\r\n000\r\n\r\n",
    ],
)
async def test_a_chunked_body_is_unframed(data: bytes) -> None:
    assert await collected(data, None) == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"5\nhello",
        b"5\r\nhello!\r\n",
        b"fffffffff\r\n",
        b"\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\n",
        b"ffffffff\r\n",
    ],
)
async def test_framing_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(Denied):
        await collected(data, None)


@pytest.mark.parametrize(("data", "length"), [(b"5\r\nhel", None), (b"hel", 5), (b"", None)])
async def test_a_body_that_ends_too_early_says_so(data: bytes, length: int | None) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await collected(data, length)


async def test_a_head_over_the_limit_is_refused() -> None:
    with pytest.raises(Denied) as refused:
        await messages.read_head(fed(b"GET / HTTP/1.1\r\na: " + b"b" * messages.LARGEST_HEAD * 2))
    assert refused.value.status == 431


async def test_a_client_that_says_nothing_gets_no_answer() -> None:
    assert await messages.read_head(fed(b"")) is None
    assert await messages.read_head(asyncio.StreamReader(), 0.01) is None


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
def test_every_chunked_body_comes_back_as_it_was(pieces: list[bytes]) -> None:
    framed = b"".join(map(messages.as_chunk, pieces)) + messages.as_chunk(b"")
    assert asyncio.run(collected(framed, None)) == b"".join(pieces)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_of_heads_fail_in_another_way(noise: bytes) -> None:
    try:
        found = messages.parse_head(b"GET / HTTP/1.1\r\n" + noise + b"\r\n\r\n")
        _ = found.length
    except Denied:
        return
    again = messages.encode(f"{found.method} {found.target} HTTP/1.{found.minor}", found.headers)
    assert messages.parse_head(again) == found


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_of_bodies_fail_in_another_way(noise: bytes) -> None:
    try:
        asyncio.run(collected(noise, None))
    except (Denied, asyncio.IncompleteReadError):
        return
    assert b"0" in noise
