"""What the proxy lets through, over real sockets and real TLS, and what it writes down about it."""

import asyncio
import base64
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sandbox.egress import proxy, rules
from sandbox.egress.verdicts import Why
from tests.sandbox.egress import peers

NAME = "registry.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> peers.Authority:
    return peers.authority(tmp_path_factory.mktemp("tls"), NAME, "code.example.org")


@asynccontextmanager
async def proxying(
    kept: peers.Kept, *private: str, allowed: tuple[str, ...] = (), never: tuple[str, ...] = (), **more: object
) -> AsyncIterator[int]:
    decided = rules.Rules.of(allowed, private=private, never=never)
    more = {"resolve": peers.resolve_to_loopback, **more}
    async with proxy.Proxy(decided, kept.journal(), **more).on_loopback() as port:  # type: ignore[arg-type]
        yield port


async def test_a_tunnel_to_an_allowed_host_carries_tls_end_to_end(authority: peers.Authority) -> None:
    kept = peers.Kept()
    async with peers.serving(tls=authority.server) as server, proxying(kept, f"{NAME}:{server.port}") as port:
        reader, writer = await peers.tunnel(port, f"{NAME.upper()}:{server.port}", authority.client, NAME)
        writer.write(b"GET /simple HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"hello" in await reader.read(-1)
        writer.close()
        (ended,) = await kept.until_ended()
    assert server.requests[0].target == "/simple"
    assert kept.decisions() == [(NAME, server.port, "allowed", "listed")]
    assert kept.records[0].address == "127.0.0.1"
    assert min(ended.bytes_up or 0, ended.bytes_down or 0) > 5
    assert ended.verdict == "allowed"


async def test_another_host_gets_403_and_the_reason_in_words() -> None:
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept) as port:
        answer = await peers.ask(port, f"CONNECT evil.example.org:{server.port} HTTP/1.1\r\n\r\n".encode())
    assert peers.status(answer) == 403
    assert b"is not on the list of hosts that agents may reach" in answer
    assert server.connections == 0
    assert kept.decisions() == [("evil.example.org", server.port, "refused", "not_listed")]


async def test_the_forge_is_refused_even_if_listed(authority: peers.Authority) -> None:
    kept = peers.Kept()
    async with (
        peers.serving(tls=authority.server) as server,
        proxying(kept, f"code.example.org:{server.port}", never=("code.example.org",)) as port,
    ):
        answer = await peers.ask(port, f"CONNECT code.example.org:{server.port} HTTP/1.1\r\n\r\n".encode())
    assert peers.status(answer) == 403
    assert b"an agent never talks to it" in answer
    assert server.connections == 0


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", Why.IP_LITERAL),
        ("2130706433", Why.IP_LITERAL),
        ("0x7f.1", Why.IP_LITERAL),
        ("[::1]", Why.IP_LITERAL),
        ("[::ffff:127.0.0.1]", Why.IP_LITERAL),
        ("registry.example.com%2eevil.org", Why.NAME),
        ("xn--registry-.example.com", Why.NAME),
        ("registry.example.com@evil.org", Why.MALFORMED),
        ("registry.example.com:443", Why.IP_LITERAL),
    ],
)
async def test_no_spelling_gets_around_the_list(host: str, why: Why) -> None:
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, f"{NAME}:{server.port}") as port:
        answer = await peers.ask(port, f"CONNECT {host}:{server.port} HTTP/1.1\r\n\r\n".encode())
        also = await peers.ask(port, f"GET http://{host}:{server.port}/ HTTP/1.1\r\n\r\n".encode())
    assert {peers.status(answer), peers.status(also)} <= {400, 403}
    assert server.connections == 0
    assert kept.records[0].why is why


@pytest.mark.parametrize(
    "target",
    [
        "registry.example.com",
        ":443",
        "registry.example.com:0",
        "registry.example.com:99999",
        "registry.example.com:443000000000",
        f"registry.example.com:000443{'0' * 5000}",
    ],
    ids=lambda target: target[:40],
)
async def test_a_tunnel_without_a_usable_port_is_refused(target: str) -> None:
    kept = peers.Kept()
    async with proxying(kept, NAME) as port:
        answer = await peers.ask(port, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    assert peers.status(answer) == 400
    assert kept.totals_are(allowed=0, refused=1)


async def test_a_public_name_that_leads_home_is_refused() -> None:
    """The name's owner decides where it leads: 169.254.169.254 of a cloud gives out credentials."""
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, allowed=(f"{NAME}:{server.port}",)) as port:
        answer = await peers.ask(port, f"CONNECT {NAME}:{server.port} HTTP/1.1\r\n\r\n".encode())
    assert b"leads to 127.0.0.1, which is not public" in answer
    assert server.connections == 0
    assert kept.decisions() == [(NAME, server.port, "refused", "address")]


async def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to() -> None:
    """A second look-up could give another answer than the one that was checked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, f"{NAME}:{server.port}", resolve=resolve) as port:
        answer = await peers.ask(port, f"GET http://{NAME}:{server.port}/ HTTP/1.1\r\n\r\n".encode())
    assert peers.content(answer) == b"hello"
    assert asked == [NAME]


async def test_another_server_behind_an_allowed_one_is_not_reached(authority: peers.Authority) -> None:
    """One address serves many hosts; the TLS greeting says which."""
    kept = peers.Kept()
    async with peers.serving(tls=authority.server) as server, proxying(kept, f"{NAME}:{server.port}") as port:
        with pytest.raises((ssl.SSLError, OSError)):
            await peers.tunnel(port, f"{NAME}:{server.port}", authority.client, "code.example.org")
        (ended,) = await kept.until_ended()
    assert server.requests == []
    assert (ended.verdict, ended.why, ended.bytes_up) == ("refused", Why.SERVER_NAME, 0)


async def test_a_tunnel_carries_no_plain_protocol() -> None:
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, f"{NAME}:{server.port}") as port:
        raw = f"CONNECT {NAME}:{server.port} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n".encode()
        answer = await peers.ask(port, raw)
        (ended,) = await kept.until_ended()
    assert answer.count(b"HTTP/1.1") == 1
    assert server.requests == []
    assert ended.why is Why.SERVER_NAME


async def test_a_plain_request_reaches_the_host_that_was_decided_on() -> None:
    """The client's own Host header, and headers for the proxy, go no further."""
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, f"{NAME}:{server.port}") as port:
        raw = (
            f"POST http://{NAME}:{server.port}/up?q=1 HTTP/1.1\r\nHost: code.example.org\r\n"
            "Proxy-Authorization: Basic x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
            "X-End: 2\r\nExpect: 100-continue\r\n"
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        )
        answer = await peers.ask(port, raw.encode())
        (ended,) = await kept.until_ended()
    (request,) = server.requests
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert (request.method, request.target, request.body) == ("POST", "/up?q=1", b"abcdefg")
    assert request.headers["host"] == f"{NAME}:{server.port}"
    assert request.headers["connection"] == "close"
    assert request.headers["x-end"] == "2"
    assert not {"proxy-authorization", "x-hop", "expect"} & set(request.headers)
    assert (kept.records[0].method, kept.records[0].path) == ("POST", "/up")
    assert ended.bytes_up == 7


async def test_a_redirect_is_the_clients_to_follow_and_is_decided_anew() -> None:
    async def elsewhere(request: peers.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://evil.example.org/\r\ncontent-length: 0\r\n\r\n")

    kept = peers.Kept()
    async with peers.serving(elsewhere) as server, proxying(kept, f"{NAME}:{server.port}") as port:
        first = await peers.ask(port, f"GET http://{NAME}:{server.port}/ HTTP/1.1\r\n\r\n".encode())
        second = await peers.ask(port, b"GET http://evil.example.org/ HTTP/1.1\r\n\r\n")
    assert peers.status(first) == 302
    assert peers.status(second) == 403
    assert server.connections == 1


async def test_a_second_request_behind_the_first_one_is_not_carried() -> None:
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, f"{NAME}:{server.port}") as port:
        one = f"GET http://{NAME}:{server.port}/ HTTP/1.1\r\n\r\n"
        await peers.ask(port, (one + "GET /second HTTP/1.1\r\nHost: code.example.org\r\n\r\n").encode())
        await kept.until_ended()
    assert [request.target for request in server.requests] in ([], ["/"])


@pytest.mark.parametrize(
    "target", ["https://registry.example.com/", "ftp://registry.example.com/", "file:///etc/passwd"]
)
async def test_other_schemes_are_refused(target: str) -> None:
    kept = peers.Kept()
    async with proxying(kept, NAME) as port:
        answer = await peers.ask(port, f"GET {target} HTTP/1.1\r\n\r\n".encode())
    assert peers.status(answer) == 403
    assert kept.records[0].why is Why.SCHEME


async def test_an_allowed_host_that_does_not_answer_is_502() -> None:
    kept = peers.Kept()
    with peers.refusing() as closed:
        async with proxying(kept, f"{NAME}:{closed}") as port:
            answer = await peers.ask(port, f"CONNECT {NAME}:{closed} HTTP/1.1\r\n\r\n".encode())
            (ended,) = await kept.until_ended()
    assert peers.status(answer) == 502
    assert ended.why is Why.UNREACHABLE


async def test_on_tcp_the_password_of_the_turn_is_needed() -> None:
    """Any process of the host can connect to a loopback port."""
    kept = peers.Kept()
    async with peers.serving() as server, proxying(kept, f"{NAME}:{server.port}", password="of-the-turn") as port:
        request = f"GET http://{NAME}:{server.port}/ HTTP/1.1\r\n%s\r\n"
        shown = {
            "": 407,
            f"Proxy-Authorization: Basic {base64.b64encode(b'fettle:guess').decode()}\r\n": 407,
            "Proxy-Authorization: Bearer of-the-turn\r\n": 407,
            f"Proxy-Authorization: Basic {base64.b64encode(b'fettle:of-the-turn').decode()}\r\n": 200,
        }
        for header, wanted in shown.items():
            assert peers.status(await peers.ask(port, (request % header).encode())) == wanted
    assert server.connections == 1
    assert [each.why for each in kept.records[:3]] == [Why.CREDENTIALS] * 3


@pytest.mark.parametrize(
    "noise", [b"\x05\x01\x00", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n"]
)
async def test_what_is_no_http_is_answered_400_and_recorded(noise: bytes) -> None:
    kept = peers.Kept()
    async with proxying(kept, NAME) as port:
        answer = await peers.ask(port, noise, end=True)
    assert peers.status(answer) == 400
    assert [each.why for each in kept.records] == [Why.MALFORMED]


async def test_no_evidence_no_connection() -> None:
    kept = peers.Kept()
    decided = rules.Rules.of(private=[NAME + ":80"])
    full = proxy.Proxy(decided, kept.journal(most_bytes=0), resolve=peers.resolve_to_loopback)
    async with full.on_loopback() as port:
        answer = await peers.ask(port, f"GET http://{NAME}/ HTTP/1.1\r\n\r\n".encode())
    assert peers.status(answer) == 403
    assert b"more connections than can be recorded" in answer


async def test_every_connection_ends_with_the_turn(authority: peers.Authority) -> None:
    kept = peers.Kept()
    async with peers.serving(tls=authority.server) as server:
        async with proxying(kept, f"{NAME}:{server.port}") as port:
            reader, writer = await peers.tunnel(port, f"{NAME}:{server.port}", authority.client, NAME)
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await kept.until_ended()
        # Somebody else's server may have the port by now: what this one answers, it writes down.
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                await peers.ask(port, b"CONNECT evil.example.org:443 HTTP/1.1\r\n\r\n")
    assert kept.decisions() == [(NAME, server.port, "allowed", "listed")]


async def test_the_socket_is_for_its_user_alone_and_goes_with_the_turn(tmp_path: Path) -> None:
    """Its path may be longer than the address of a socket, and a killed worker may have left one there."""
    path = tmp_path / ("deep" * 40) / "egress" / "proxy.sock"
    served = proxy.Proxy(rules.Rules(), peers.Kept().journal())
    async with served.on_socket(path, 3128):
        pass
    path.write_text("left by a worker that was killed")
    async with served.on_socket(path, 3128):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()
