"""What an agent host says of itself, every few seconds, for the operator's list of hosts. All that is decided upon it
is whether a run waits for a host that suits it, or is told that there is none."""

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

BEAT_SECONDS: Final = 15.0
LOST_AFTER: Final = timedelta(seconds=60)
"""Four beats: a host that is silent for longer is gone, or its artifacts are not the ones that are read."""


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Agent(Model):
    """One agent CLI on the host."""

    version: str = ""
    verified: bool = True
    """False: a major version that this release was not tested with."""
    ready: bool = False
    why_not: str = ""


class LeasedRun(Model):
    run: str
    backend: str = ""
    since: datetime | None = None


class Report(Model):
    host: str
    at: datetime
    started_at: datetime | None = None
    disk: str = ""
    """Names the state directory: the same host on another disk is another host with a wrong id."""
    slots: int = 0
    runs: tuple[LeasedRun, ...] = ()
    agents: dict[str, Agent] = {}
    sandbox: str = ""
    sandbox_why_not: str = ""
    draining: bool = False
    """It takes no run any more, and ends when those it has are at a safe point."""
    ended: bool = False

    def is_lost(self, now: datetime) -> bool:
        return not self.ended and now - self.at > LOST_AFTER

    def could_take(self, backend: str, now: datetime) -> bool:
        """Whether it takes runs of this agent when it has a slot."""
        agent = self.agents.get(backend)
        at_work = not (self.ended or self.draining or self.sandbox_why_not or self.is_lost(now))
        return at_work and agent is not None and agent.ready


def key(host: str) -> str:
    """Where the artifacts hold a host's report."""
    return f"hosts/{host}.json"
