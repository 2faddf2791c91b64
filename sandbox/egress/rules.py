"""Which hosts an agent may reach: patterns of names, and the hosts that no list can allow."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from domain import errors
from sandbox.egress.verdicts import Denied, Why

HTTPS: Final = 443
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHOWN: Final = 80
_FORGE_PREFIXES: Final = ("api.", "www.", "ssh.", "git.", "uploads.", "codeload.", "raw.")
_FORGE_RELATIVES: Final = {"github.com": ("githubusercontent.com", "ghcr.io")}
"""Names that take a forge's credentials and are not below its own."""


def host_name(given: str) -> str:
    """The one spelling of a host: small letters, no dot at the end.

    Raises:
        Denied: it is an address and no name, in any of the spellings that resolvers take for one; or it is written with
            anything but letters a to z, digits, hyphens and dots. An international name has to be in its `xn--` form.
    """
    name = given.lower().removesuffix(".")
    labels = name.split(".")
    if ":" in name or "[" in name or _NUMBER.fullmatch(labels[-1]):
        raise Denied(
            Why.IP_LITERAL, f"'{_shown(given)}' is an address, only names are allowed: ask for the host by its name"
        )
    if len(name) > 253 or not given.isascii() or not all(_LABEL.fullmatch(label) for label in labels):
        raise Denied(
            Why.NAME,
            f"'{_shown(given)}' is no plain host name (letters a to z, digits, hyphens, dots; international names in "
            "their xn-- form): write the host's own name",
        )
    return name


class Pattern(BaseModel):
    """`host`, `host:port`, `*.domain` or `*.domain:port`; without a port it means 443. A star stands for one label or
    more, never for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    port: int = HTTPS
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Raises ConfigurationError when the text is none of the four forms."""
        host, colon, port = text.strip().partition(":")
        below = host.startswith("*.")
        number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
        try:
            name = host_name(host.removeprefix("*."))
        except Denied as refused:
            raise errors.ConfigurationError(f"'{_shown(text)}' is to be allowed for agents: {refused}") from refused
        if (colon and not 0 < number < 65536) or (below and "." not in name):
            raise errors.ConfigurationError(
                f"'{_shown(text)}' is to be allowed for agents, expected is host, host:port, *.domain or *.domain:port "
                "with a domain of two labels or more: correct the egress_* setting"
            )
        return cls(name=name, port=number or HTTPS, below=below)

    def matches(self, host: str, port: int) -> bool:
        named = host.endswith(f".{self.name}") if self.below else host == self.name
        return named and port == self.port


class Rules(BaseModel):
    """The whole decision by name. Built once for a host by `of`.

    `private` hosts are allowed like the others and may also have private or loopback addresses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed: tuple[Pattern, ...] = ()
    private: tuple[Pattern, ...] = ()
    never: tuple[str, ...] = ()
    """Hosts that stay closed with everything below them."""
    wished: tuple[Pattern, ...] | None = None
    """Of those allowed, the ones that a repository asks for; None: all of them."""

    @classmethod
    def of(cls, allowed: Iterable[str] = (), *, private: Iterable[str] = (), never: Iterable[str] = ()) -> "Rules":
        """Rules from the spelling of the settings.

        Raises:
            ConfigurationError: an entry is no pattern.
        """
        return cls(
            allowed=tuple(Pattern.parse(each) for each in allowed),
            private=tuple(Pattern.parse(each) for each in private),
            never=tuple(never),
        )

    def with_hosts(self, hosts: Iterable[str]) -> "Rules":
        """These rules and a few hosts more, whatever the repository wishes; `never` holds for them too."""
        more = tuple(Pattern.parse(each) for each in hosts)
        wished = None if self.wished is None else (*self.wished, *more)
        return self.model_copy(update={"allowed": (*self.allowed, *more), "wished": wished})

    def narrowed(self, wished: Iterable[str] | None) -> "Rules":
        """These rules for a repository that wants `wished` only, in the same spelling; None: all that is allowed.

        Raises:
            ConfigurationError: an entry is no pattern.
        """
        return self if wished is None else self.model_copy(update={"wished": tuple(map(Pattern.parse, wished))})

    def check(self, host: str, port: int) -> bool:
        """Whether the host may have a private address.

        Args:
            host: As `host_name` returned it.

        Raises:
            Denied: it is not allowed.
        """
        if self.is_never(host):
            raise Denied(
                Why.FORGE,
                f"{host} belongs to the forge, an agent never talks to it: commit in the worktree, Fettle pushes",
            )
        private = any(each.matches(host, port) for each in self.private)
        listed = private or any(each.matches(host, port) for each in self.allowed)
        if listed and self.wished is not None and not any(each.matches(host, port) for each in self.wished):
            raise Denied(
                Why.NOT_LISTED,
                f"{host}:{port} is allowed here, but not wished for by the repository: add it to the repository's "
                "egress list if it is needed",
            )
        if listed:
            return private
        raise Denied(
            Why.NOT_LISTED,
            f"{host}:{port} is not on the list of hosts that agents may reach: work without it, or ask the operator to "
            "add it to egress_allow",
        )

    def is_never(self, host: str) -> bool:
        return any(host == each or host.endswith(f".{each}") for each in self.never)

    def overruled(self) -> list[str]:
        """Listed hosts that stay closed because they are the forge's: worth a warning to the operator."""
        return sorted({each.name for each in (*self.allowed, *self.private) if self.is_never(each.name)})


def forge_hosts(addresses: Iterable[str]) -> tuple[str, ...]:
    """The names that belong to a forge, from its addresses: `https://api.example.com` closes all of example.com.

    Addresses without a name (127.0.0.1) add nothing, literals are refused anyway.
    """
    found: set[str] = set()
    for address in addresses:
        with_slashes = address if "//" in address else f"//{address}"
        try:
            host = host_name(urlsplit(with_slashes).hostname or "")
        except (Denied, ValueError):
            continue
        for prefix in _FORGE_PREFIXES:
            if host.startswith(prefix) and "." in host.removeprefix(prefix):
                host = host.removeprefix(prefix)
        found |= {host, *_FORGE_RELATIVES.get(host, ())}
    return tuple(sorted(found))


def _shown(text: str) -> str:
    return text[:_SHOWN].encode("ascii", "backslashreplace").decode()
