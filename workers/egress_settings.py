"""The settings' words for what agents may reach: lists of hosts, as text with commas or as a list."""

from typing import Annotated

import pydantic
from pydantic import BaseModel, ConfigDict
from pydantic_settings import NoDecode

from domain import errors
from sandbox.egress import rules


def _split(given: object) -> object:
    return [each for part in given.split(",") if (each := part.strip())] if isinstance(given, str) else given


def _checked(hosts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        rules.Rules.of(hosts)
    except errors.ConfigurationError as problem:
        raise ValueError(str(problem)) from problem
    return hosts


Hosts = Annotated[tuple[str, ...], NoDecode, pydantic.BeforeValidator(_split), pydantic.AfterValidator(_checked)]
"""`host`, `host:port`, `*.domain` or `*.domain:port`; 443 without a port."""


class Registries(BaseModel):
    """Package registries by ecosystem, so that a repository can wish for `python` without knowing this installation's
    hosts. All of them are reachable for agents; none is unless it is named here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: Hosts = ()
    node: Hosts = ()
    go: Hosts = ()
    rust: Hosts = ()
    java: Hosts = ()
    ruby: Hosts = ()
    php: Hosts = ()
    dotnet: Hosts = ()
    system: Hosts = ()
    """Of the operating system's own packages."""

    def by_name(self) -> dict[str, tuple[str, ...]]:
        """The ecosystems that have hosts."""
        return {name: hosts for name in type(self).model_fields if (hosts := getattr(self, name))}
