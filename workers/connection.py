"""The one place that connects to Temporal, and that ends a short-lived client without an abort."""

import asyncio
import functools
import json
import os
import socket
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from temporalio import envconfig
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import Runtime, TelemetryConfig

from domain import errors

DEFAULT_ADDRESS: Final = "localhost:7233"
UP_FILE: Final = "up.json"
"""What `fettle up` writes into its state directory: where everything is, and which processes it is made of."""
CONNECT_SECONDS: Final = 5.0
INTERRUPTED: Final = 130
_LINGER_SECONDS: Final = 0.1
_TEMPORAL_PREFIX: Final = "TEMPORAL_"

_QUIET_ROLES: Final = frozenset({"cli", "supervisor"})
"""Processes whose stdout is their answer: the client core would write its warnings there."""

_Result = TypeVar("_Result")
_client_made = False


class Unreachable(errors.FettleError):
    """No Temporal server answered. `address` is what was tried."""

    exit_code = 3

    def __init__(self, message: str, *, address: str) -> None:
        super().__init__(message)
        self.address = address


def configured() -> envconfig.ClientConnectConfig:
    """Temporal's standard client configuration: environment, then the profile of the TOML file.

    Raises:
        errors.ConfigurationError: the file is not there or cannot be read, or the profile that is asked for is not
            in it.
    """
    named = os.environ.get("TEMPORAL_CONFIG_FILE")
    if named and not Path(named).exists():  # Temporal's own loader takes it for an empty one: another server would do
        raise errors.ConfigurationError(
            f"TEMPORAL_CONFIG_FILE names {named}, and there is no such file: correct the path, or unset it"
        )
    try:
        return envconfig.ClientConfig.load_client_connect_config()
    except Exception as broken:  # the bridge raises its own type and plain RuntimeError alike
        raise errors.ConfigurationError(
            f"Temporal's client configuration cannot be loaded ({broken}): correct the file that TEMPORAL_CONFIG_FILE "
            "names and the profile that TEMPORAL_PROFILE names, or unset both"
        ) from broken


def is_cluster_configured() -> bool:
    """Whether a Temporal cluster is named by the standard configuration, so that no server of our own is needed."""
    return bool(configured().get("target_host"))


def embedded_environment(address: str) -> dict[str, str]:
    """This process's environment for a child that must use the server at `address` and nothing else: a profile of
    the user, with its TLS and key, belongs to another server."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_TEMPORAL_PREFIX)}
    return environment | {
        "TEMPORAL_ADDRESS": address,
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }


async def connect(
    role: str,
    *,
    state: Path | None = None,
    address: str = "",
    runtime: Runtime | None = None,
    seconds: float = CONNECT_SECONDS,
) -> Client:
    """Connect to the server named by Temporal's standard configuration, else by the state directory's `up.json`, else
    to localhost:7233.

    Args:
        role: what this process is, as Temporal shows it: `fettle-<role>@<host>`. The client core of the roles `cli`
            and `supervisor` logs nothing.
        state: the state directory of `fettle up`.
        address: an embedded server's `host:port`, which goes before everything else.
        runtime: the process's telemetry, for workers.
        seconds: how long to wait for an answer.

    Raises:
        Unreachable: nobody answered; the message says who was asked and what to do.
        errors.ConfigurationError: Temporal's own configuration is broken.
    """
    global _client_made
    options, source = _options(state, address)
    target = options["target_host"]
    _client_made = True  # also when it fails: the core's threads are up by then
    try:
        async with asyncio.timeout(seconds + 0.5):
            client = await Client.connect(
                **options,
                data_converter=pydantic_data_converter,
                identity=f"fettle-{role}@{socket.gethostname()}",
                connect_timeout=timedelta(seconds=seconds),
                runtime=runtime or (_quiet_runtime() if role in _QUIET_ROLES else None),
            )
    except (TimeoutError, RuntimeError, OSError, ValueError) as failed:
        why = f"no answer within {seconds:g} s" if isinstance(failed, TimeoutError) else _reason(failed)
        raise Unreachable(
            f"Temporal at {target} ({source}) cannot be reached, {why}: {_advice(source)}", address=target
        ) from failed
    return client


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """`asyncio.run` for a command.

    A process that ends while the client's background threads still hold Python objects is aborted by the interpreter
    (7 of 25 short commands were, on CPython 3.11); letting the loop turn for a moment before it closes avoids that.

    Raises:
        SystemExit: 130, the user interrupted it.
    """

    async def lingering() -> _Result:
        try:
            return await work
        finally:
            if _client_made:
                await asyncio.sleep(_LINGER_SECONDS)

    try:
        return asyncio.run(lingering())
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def read_up(state: Path) -> dict[str, Any] | None:
    """What `fettle up` last wrote about itself; None when it never ran on this directory."""
    try:
        found = json.loads((state / UP_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@functools.cache
def _quiet_runtime() -> Runtime:
    return Runtime(telemetry=TelemetryConfig(logging=None))


def _options(state: Path | None, address: str) -> tuple[envconfig.ClientConnectConfig, str]:
    if address:
        return {"target_host": address, "namespace": "default"}, "the embedded server"
    options = configured()
    if options.get("target_host"):
        return options, "from Temporal's client configuration"
    up = read_up(state) if state else None
    if state and up and up.get("temporal_address"):
        source = f"from {state / UP_FILE}"
        if not up.get("pid"):
            raise Unreachable(
                f"Temporal at {up['temporal_address']} ({source}) is not running, `fettle up` was stopped: "
                f"{_advice(source)}",
                address=up["temporal_address"],
            )
        return {"target_host": up["temporal_address"], "namespace": "default"}, source
    return {**options, "target_host": DEFAULT_ADDRESS}, "the default"


def _advice(source: str) -> str:
    if "configuration" in source:
        return "correct TEMPORAL_ADDRESS (or the profile), or unset it and start an embedded server with `fettle up`"
    return "start it with `fettle up`, or set TEMPORAL_ADDRESS to your cluster"


def _reason(failed: Exception) -> str:
    """The cause, out of the transport's nested debug text."""
    text = str(failed)
    for known in ("Connection refused", "Connection reset", "dns error", "certificate", "deadline has elapsed"):
        if known.lower() in text.lower():
            return known.lower()
    return text.removeprefix("Failed client connect: ")[:200]
