"""The agent hosts of an installation: what they say of themselves, and when they last asked for work."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel
from rich import console, text
from temporalio.client import Client

from activities import artifact_store
from cli import polling, render
from domain import host_report, wire
from workers import host_reporting, settings

_COLUMNS = ("host", "state", "slots", "runs", "agents", "sandbox", "last beat")


class Host(BaseModel):
    """One host. Without a report only its polls are known: its artifacts are not the ones this machine reads."""

    id: str
    state: str
    """`ready`, `draining`, `ended`, `lost`, or `no report`."""
    slots: int | None = None
    runs: tuple[host_report.LeasedRun, ...] = ()
    agents: dict[str, host_report.Agent] = {}
    sandbox: str = ""
    sandbox_why_not: str = ""
    last_beat: datetime | None = None
    last_poll: datetime | None = None


async def list_all(client: Client) -> list[Host]:
    """Every host that has reported or polls."""
    reports = await host_reporting.read_all(artifact_store.DirectoryStore(settings.load().artifacts_dir))
    polls: dict[str, datetime] = {}
    for poller in await polling.list_all(client):
        if poller.queue.startswith(wire.HOST_QUEUE_PREFIX) and poller.last_poll:
            name = poller.queue.removeprefix(wire.HOST_QUEUE_PREFIX)
            polls[name] = max(poller.last_poll, polls.get(name, poller.last_poll))
    now = datetime.now(UTC)
    known = [_host(report, polls.pop(report.host, None), now) for report in reports]
    return known + [Host(id=name, state="no report", last_poll=at) for name, at in sorted(polls.items())]


def _host(report: host_report.Report, last_poll: datetime | None, now: datetime) -> Host:
    state = "ended" if report.ended else "lost" if report.is_lost(now) else "draining" if report.draining else "ready"
    if state == "ready" and report.sandbox_why_not:
        state = "no sandbox"
    return Host(
        id=report.host,
        state=state,
        slots=report.slots,
        runs=report.runs,
        agents=report.agents,
        sandbox=report.sandbox,
        sandbox_why_not=report.sandbox_why_not,
        last_beat=report.at,
        last_poll=last_poll,
    )


def table(found: Sequence[Host]) -> console.RenderableType:
    if not found:
        return text.Text("no agent host has reported: start one with fettle up or fettle worker agents")
    grid = render.grid(_COLUMNS, [_cells(host) for host in found])
    unverified = any(not agent.verified for host in found for agent in host.agents.values())
    notes = [f"{host.id}: {host.sandbox_why_not}" for host in found if host.sandbox_why_not]
    if unverified:
        notes.append("* a major version that this release was not tested with")
    return console.Group(grid, *(text.Text(render.clean(note), style="dim") for note in notes)) if notes else grid


def _cells(host: Host) -> list[str | text.Text]:
    ready = {name: agent for name, agent in host.agents.items() if agent.ready}
    style = {"ready": "green", "draining": "yellow", "ended": "dim"}.get(host.state, "bold red")
    return [
        host.id,
        text.Text(host.state, style=style),
        "" if host.slots is None else f"{len(host.runs)}/{host.slots}",
        ", ".join(run.run.removeprefix("issue/") for run in host.runs),
        ", ".join(f"{name} {agent.version}{'' if agent.verified else '*'}" for name, agent in sorted(ready.items())),
        host.sandbox,
        f"{render.age(host.last_beat or host.last_poll)} ago",
    ]
