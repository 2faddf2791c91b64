"""Which ports `fettle up` listens on: those asked for, those used last on this state directory, or the defaults."""

import json
import random
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import errors

HOST: Final = "127.0.0.1"
FILE: Final = "ports.json"
_FREE_RANGE: Final = range(20000, 32000)
"""Below the range from which Linux takes the ports of outgoing connections (ip_local_port_range), so a port that was
free when it was chosen is not taken by somebody's connection before its server listens, or while it restarts."""
_TRIES: Final = 200
_drawn: Final[dict[int, int]] = {}
"""Descriptors that tell other processes of this machine that a port is spoken for, until this process ends."""


class PortInUse(errors.FettleError):
    """Something else listens on `port`."""

    exit_code = 3

    def __init__(self, name: str, port: int, ways_out: str = "") -> None:
        ways_out = ways_out or f"name another port with {FLAGS[name]}, or let free ones be chosen with --ports auto"
        super().__init__(f"port {port}, meant for {name}, is in use by another program: end that program, {ways_out}")
        self.name = name
        self.port = port


class Ports(BaseModel):
    """One TCP port on the loopback interface for each thing that listens."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    temporal: int = Field(default=7233, ge=1, le=65535)
    temporal_ui: int = Field(default=8233, ge=1, le=65535)
    forge: int = Field(default=8080, ge=1, le=65535)
    web: int = Field(default=8090, ge=1, le=65535)


FLAGS: Final[Mapping[str, str]] = {
    "temporal": "--temporal-port",
    "temporal_ui": "--ui-port",
    "forge": "--forge-port",
    "web": "--web-port",
}


def is_free(port: int) -> bool:
    """Whether a server could listen there now; the remains of closed connections do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def recorded(state: Path) -> Ports | None:
    """The ports used last on this state directory; None when there are none, or they cannot be read."""
    with suppress(OSError, ValueError):
        return Ports.model_validate_json((state / FILE).read_text(encoding="utf-8"))
    return None


def record(state: Path, chosen: Ports) -> None:
    """Remember `chosen` for the next start: links and webhooks keep pointing at the same place."""
    path = state / FILE
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(chosen.model_dump(), indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def choose(
    explicit: Mapping[str, int | None],
    last: Ports | None,
    *,
    automatic: bool = False,
    needed: frozenset[str] = frozenset(FLAGS),
    free: Callable[[int], bool] = is_free,
) -> Ports:
    """One port for each of `needed`: an explicit one, else the one used last, else the default.

    Args:
        explicit: by name of the port; None means not given.
        last: what `recorded` found.
        automatic: take a free port instead of refusing one that is in use, or of the default.
        needed: the ports that will be listened on; the others are neither checked nor kept apart.
        free: whether a port can be listened on.

    Raises:
        PortInUse: a port is taken and may not be replaced.
        errors.ConfigurationError: two names were given the same port.
    """
    chosen: dict[str, int] = {}
    unused: dict[str, int] = {}
    for name in FLAGS:
        given = explicit.get(name)
        fallback = getattr(last, name) if last else None if automatic else Ports.model_fields[name].default
        port = given if given is not None else fallback
        if name not in needed:
            unused[name] = port or Ports.model_fields[name].default
            continue
        usable = port is not None and port not in chosen.values() and free(port)
        if not usable and automatic and given is None:
            port = _any_free(set(chosen.values()), free)
        elif port is not None and port in chosen.values():
            other = next(n for n, p in chosen.items() if p == port)
            raise errors.ConfigurationError(
                f"port {port} is given to both {other} and {name}: change {FLAGS[other]} or {FLAGS[name]}"
            )
        elif not usable:
            raise PortInUse(name, port or 0)
        chosen[name] = port or 0
    return Ports.model_validate({**unused, **chosen})


def _any_free(taken: set[int], free: Callable[[int], bool]) -> int:
    for _ in range(_TRIES):
        port = random.choice(_FREE_RANGE)
        if port not in taken and free(port) and _draw(port):
            return port
    raise errors.ConfigurationError(
        f"no free port was found in {_TRIES} tries between {_FREE_RANGE.start} and {_FREE_RANGE.stop}: name the ports"
    )


def _draw(port: int) -> bool:
    """Take a port before anything listens on it: seconds pass until then, in which another process could draw it too.
    The name is the kernel's, of this network like the port, and goes with the process."""
    if sys.platform != "linux" or port in _drawn:
        return port not in _drawn
    token = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        token.bind(f"\0fettle-port-{port}")
    except OSError:
        token.close()
        return False
    _drawn[port] = token.detach()
    return True
