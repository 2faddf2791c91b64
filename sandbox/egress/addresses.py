"""From a name to the addresses that may be connected to: resolved once, checked, and never resolved again."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from sandbox.egress.verdicts import Denied, Why

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a host for a port, as text."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_RESOLVE_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 15.0
_MOST_TRIED: Final = 4
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_PRIVATE: Final = tuple(
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128")
)
"""What an operator may open by naming a private host. Link-local addresses are in no list."""
_METADATA: Final = frozenset(ipaddress.ip_address(each) for each in ("fd00:ec2::254", "100.100.100.200"))
"""Cloud machines get credentials there; they lie inside of private ranges."""


async def system_resolve(host: str, port: int) -> list[str]:
    """What the host's own resolver says. Raises OSError when it says nothing."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_RESOLVE_SECONDS):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def checked(host: str, port: int, resolve: Resolve, *, private: bool) -> list[str]:
    """The addresses of a host, every one of which may be connected to.

    One bad address among good ones refuses the host: that is how a name is turned against its reader.

    Raises:
        Denied: the name has no address, or one that is not public (with `private`: neither public nor private).
    """
    try:
        found = await resolve(host, port)
    except (OSError, UnicodeError) as error:  # a time-out is an OSError too
        raise Denied(
            Why.ADDRESS, f"{host} is allowed, its name does not resolve here ({error}): check the name", 502
        ) from error
    bad = [each for each in found if not may_connect(each, private=private)]
    if bad or not found:
        raise Denied(
            Why.ADDRESS,
            f"{host} is allowed, its name leads to {', '.join(bad[:3]) or 'no address'}, which is not public: "
            "an operator can name it in egress_private if that is meant",
        )
    return found[:_MOST_TRIED]


def may_connect(address: str, *, private: bool) -> bool:
    """Whether an address is public, or with `private` one of an operator's own network. IPv4 inside of IPv6 counts as
    what it stands for."""
    try:
        ip = _meant(ipaddress.ip_address(address))
    except ValueError:  # a zone, or no address at all
        return False
    if ip in _METADATA:
        return False
    if private and any(ip in network for network in _PRIVATE if network.version == ip.version):
        return True
    closed = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    return ip.is_global and not closed


async def connect(addresses: list[str], port: int) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """The first of these addresses that answers, as numbers: no name is looked up here.

    Raises:
        Denied: none does.
    """
    problem: Exception | None = None
    for address in addresses:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(address, port, flags=socket.AI_NUMERICHOST)
                return address, reader, writer
        except OSError as error:
            problem = error
    raise Denied(
        Why.UNREACHABLE, f"{addresses[0]}:{port} is allowed, it does not answer ({problem}): try again later", 502
    )


def _meant(ip: _Address) -> _Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.scope_id:
        raise ValueError("an address of one interface")
    inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    return inside or ip
