"""What `fettle up` runs on one machine: which parts are ours to start, their ports, command lines and order."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from workers import (
    children,
    connection,
    embedded,
    embedded_forge,
    forges,
    ports,
    settings,
    state_directory,
    supervisor,
)

AGENTS_GRACE_SECONDS: Final = 20.0
"""A turn that is told to stop gets this long to leave its work where the next start finds it."""
WORKER_GRACE_SECONDS: Final = 10.0
SERVER_GRACE_SECONDS: Final = 5.0
"""Server and forge stop last, when nobody asks them anything any more; their databases survive a kill as well."""


@dataclass(frozen=True)
class Request:
    """What the user asked for; None leaves a thing to the settings and to what was used last."""

    state: Path
    explicit_ports: Mapping[str, int | None] = field(default_factory=dict)
    automatic_ports: bool = False
    own_forge: bool | None = None


def configured(state: Path | None = None) -> settings.Settings:
    """The settings as a command in another terminal needs them: with the embedded forge, where `fettle up` runs one.

    Raises:
        errors.ConfigurationError: see `settings.load`.
    """
    known = settings.load(**({"state_dir": state} if state else {}))
    up = connection.read_up(known.state_dir) or {}
    if "forge" in known.model_fields_set or not up.get("pid") or "devforge" not in up.get("processes", {}):
        return known
    return settings.load(state_dir=known.state_dir, **embedded_forge.overrides(known.state_dir, up["forge_url"]))


async def run(request: Request, observe: supervisor.Observer) -> None:
    """Start everything, keep it running until a signal asks to stop, and leave nothing running.

    Raises:
        state_directory.AlreadyRunning: the directory is in use.
        ports.PortInUse: a port is taken.
        connection.Unreachable: the configured cluster does not answer.
        children.StartFailed: a part does not become ready.
        errors.ConfigurationError: settings that cannot be used.
    """
    state = state_directory.prepare(request.state)
    with state_directory.lock(state, "fettle up"):
        supervisor.end_leftovers(state)
        made = await _assemble(request, state)
        await supervisor.until_signalled(supervisor.Supervisor(state, *made, observe))


async def _assemble(request: Request, state: Path) -> tuple[supervisor.Addresses, list[list[children.Spec]]]:
    known = settings.load(state_dir=state)
    own_server = not connection.is_cluster_configured()
    own_forge = request.own_forge if request.own_forge is not None else "forge" not in known.model_fields_set
    if own_forge:
        embedded_forge.refuse_another(known)
    else:
        forges.refuse_incomplete(known)
    needed = {"web"} | ({"temporal", "temporal_ui"} if own_server else set()) | ({"forge"} if own_forge else set())
    chosen = ports.choose(
        request.explicit_ports,
        ports.recorded(state),
        automatic=request.automatic_ports,
        needed=frozenset(needed),
    )
    if not own_server:
        await embedded.ensure_search_attributes(await connection.connect("supervisor"))
    ports.record(state, chosen)
    addresses = supervisor.Addresses(
        temporal_address=f"{ports.HOST}:{chosen.temporal}" if own_server else connection.configured()["target_host"],
        temporal_ui=f"http://{ports.HOST}:{chosen.temporal_ui}" if own_server else "",
        web_url=f"http://{ports.HOST}:{chosen.web}",
        forge_url=f"http://{ports.HOST}:{chosen.forge}" if own_forge else known.forge.api_url,
    )
    first = [_server(state, chosen, addresses)] if own_server else []
    environment = connection.embedded_environment(addresses.temporal_address) if own_server else dict(os.environ)
    environment |= {"FETTLE_STATE_DIR": str(state), "FETTLE_WEB_HOST": ports.HOST, "FETTLE_WEB_PORT": str(chosen.web)}
    if own_forge:
        forge = embedded_forge.EmbeddedForge(state, chosen.forge)
        first.append(replace(forge.spec(), grace_seconds=SERVER_GRACE_SECONDS))
        environment |= forge.environment()
    agents_grace = AGENTS_GRACE_SECONDS + known.drain_seconds
    return addresses, [stage for stage in (first, _workers(environment, addresses, agents_grace)) if stage]


def _server(state: Path, chosen: ports.Ports, addresses: supervisor.Addresses) -> children.Spec:
    return children.Spec(
        "temporal",
        tuple(embedded.command(state / "temporal.db", chosen)),
        # The server asks who it runs as; for a user without a passwd entry, as in many containers, this is the answer.
        connection.embedded_environment(addresses.temporal_address) | {"USER": os.environ.get("USER") or "fettle"},
        probe=lambda: embedded.wait_until_ready(addresses.temporal_address),
        url=addresses.temporal_ui,
        grace_seconds=SERVER_GRACE_SECONDS,
    )


def _workers(
    environment: Mapping[str, str], addresses: supervisor.Addresses, agents_grace: float
) -> list[children.Spec]:
    grace = {"control": WORKER_GRACE_SECONDS, "agents": agents_grace, "web": WORKER_GRACE_SECONDS}
    return [
        children.Spec(
            name,
            (sys.executable, "-m", "workers", name),
            environment,
            url=addresses.web_url if name == "web" else "",
            grace_seconds=seconds,
        )
        for name, seconds in grace.items()
    ]
