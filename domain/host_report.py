"""What an agent host says of itself, every few seconds: for the operator's list of hosts, never decided upon."""

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


def key(host: str) -> str:
    """Where the artifacts hold a host's report."""
    return f"hosts/{host}.json"
