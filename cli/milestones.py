"""What a turn is doing beside what it prints: from the heartbeats of its host, as the server has them."""

import asyncio
from datetime import timedelta
from typing import Final

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cli import render
from domain import agent, refs, wire

_ANSWER: Final = timedelta(seconds=5)
_FIRST_SECONDS: Final = 10.0
"""A call that takes less is seen in the output soon enough; then it is told again each time it has taken twice as
long."""


class Milestones:
    """Tells each fact once. `look` may be called as often as one likes."""

    def __init__(self, client: Client, issue: refs.Issue) -> None:
        self._client = client
        self._round = client.get_workflow_handle(f"{issue.workflow_id}/implement")
        self._clock = asyncio.get_running_loop().time
        self._turn: tuple[int, str] = (0, "")
        self._kept = ""
        self._tool = ""
        self._since = 0.0
        self._tell_at = _FIRST_SECONDS

    async def look(self) -> list[str]:
        """What is new since the last look; empty while no turn is under way."""
        found = await self._progress()
        if found is None:
            return []
        progress, host = found
        told = []
        if (progress.turn, host) != self._turn:
            self._turn = (progress.turn, host)
            told.append(f"turn {progress.turn} is played on {host}")
        if progress.wip_sha and progress.wip_sha != self._kept:
            self._kept = progress.wip_sha
            told.append(f"work in progress kept as {progress.wip_sha[:9]}")
        return told + self._in_flight(progress.tool)

    def _in_flight(self, tool: str) -> list[str]:
        now = self._clock()
        if tool != self._tool:
            self._tool, self._since, self._tell_at = tool, now, _FIRST_SECONDS
        taken = now - self._since
        if not tool or taken < self._tell_at:
            return []
        self._tell_at = 2 * taken
        return [f"{tool} has been running for {render.span(taken)}"]

    async def _progress(self) -> tuple[agent.Progress, str] | None:
        """The newest heartbeat, and the host that sent it."""
        try:
            described = await self._round.describe(rpc_timeout=_ANSWER)
        except RPCError as failed:
            if failed.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNAVAILABLE}:
                return None
            raise
        for pending in described.raw_description.pending_activities:
            if pending.activity_type.name == wire.RUN_AGENT and pending.heartbeat_details.payloads:
                try:
                    [progress] = await self._client.data_converter.decode(
                        pending.heartbeat_details.payloads, [agent.Progress]
                    )
                except (ValidationError, ValueError, RuntimeError):  # of another release
                    return None
                return progress, _host(pending.last_worker_identity)
        return None


def _host(identity: str) -> str:
    """The host's id, from the name by which its worker polls."""
    return render.clean(identity.partition("@")[0].removeprefix("fettle-agents-")) or "its host"
