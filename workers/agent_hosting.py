"""What an agent host is made of beside its workers: how its runs are kept, what it says of itself, how it stops."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from temporalio import worker

from activities import hosts, turn_checkpoint, turn_wip
from activities.artifact_store import ArtifactStore
from domain import host_report, redaction
from integrations.agent.port import AgentBackend
from integrations.forge.port import Forge
from integrations.git.mirror import Mirrors
from sandbox.spec import Level
from workers.settings import Settings


@dataclass
class Draining:
    """Set once the host is told to stop: from then on it takes no run."""

    asked: bool = False

    def __call__(self) -> bool:
        return self.asked


@dataclass(frozen=True)
class Reporter:
    """Makes the host's report. The agents' versions are those that its claims go by: found when it started."""

    host: str
    settings: Settings
    leases: hosts.HostActivities
    agents: Mapping[str, host_report.Agent]
    level: Level
    draining: Callable[[], bool]
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> host_report.Report:
        return host_report.Report(
            host=self.host,
            at=datetime.now(UTC),
            started_at=self.started_at,
            disk=hosts.disk_id(self.settings.host_state_dir),
            slots=self.settings.agent_slots,
            runs=self.leases.leased(),
            agents=dict(self.agents),
            sandbox=self.level.name,
            sandbox_why_not=self.level.why_not,
            draining=self.draining(),
        )


def agents_of(backends: Mapping[str, AgentBackend], environment: Mapping[str, str]) -> dict[str, host_report.Agent]:
    """Every agent CLI as it is on this host, those that cannot work with the reason."""
    found = {name: backend.discover(environment) for name, backend in backends.items()}
    return {
        name: host_report.Agent(
            version=one.version, verified=one.capability.verified, ready=one.ready, why_not=one.why_not
        )
        for name, one in found.items()
    }


def checkpoints(
    host: str, forge: Forge, mirrors: Mirrors, store: ArtifactStore, redactor: redaction.Redactor
) -> turn_checkpoint.Checkpoints:
    return turn_checkpoint.Checkpoints(store, host, turn_wip.WorkInProgress(forge, mirrors, redactor))


async def stop(workers: Sequence[worker.Worker]) -> None:
    """Stop all of them at once, so that none takes new work while another one lets its work end."""
    await asyncio.gather(*(each.shutdown() for each in workers))
