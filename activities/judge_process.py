"""How a judge's process runs: confined like an agent's, in an empty directory that is gone when it has answered."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from activities import egress, rooms, turn_process
from integrations.agent import judge, port
from sandbox import process

_EVIDENCE: Final = "judge"
"""Stands in the place of a run: a judge is asked for many."""


@dataclass(frozen=True)
class ConfinedRunner:
    """`judge.Runner` on this host.

    Args:
        way_out: How it reaches its model. None: what the confinement leaves open.
        backend: The CLI that judges.
    """

    state_dir: Path
    confinement: rooms.Confinement
    way_out: egress.Egress | None = None
    backend: port.AgentBackend | None = None

    async def __call__(
        self, make: Callable[[Path], port.Command], *, passed: tuple[str, ...], seconds: float
    ) -> judge.Exit:
        """Raises AgentUnavailable when the program cannot be started."""
        base = self.state_dir / "judges"
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        room = rooms.Room(Path(tempfile.mkdtemp(dir=base)))
        try:
            room.prepare()
            work = room.root / "work"
            work.mkdir()
            async with AsyncExitStack() as stack:
                spec = await self._spec(stack, make(room.home), room, work, passed)
                done = await process.capture(spec, seconds=seconds)
        finally:
            await process.uncancelled(asyncio.to_thread(shutil.rmtree, room.root, ignore_errors=True))
        stderr = done.stderr.decode("utf-8", "replace")
        return judge.Exit(turn_process.exit_code_of(done.status), done.stdout, stderr, done.timed_out)

    async def _spec(
        self, stack: AsyncExitStack, command: port.Command, room: rooms.Room, work: Path, passed: tuple[str, ...]
    ) -> process.Spec:
        if self.way_out is None:
            return self.confinement.spec(command, room, work, passed)
        # A judge has no tools, so nothing that it reads can make it use the key for anything but its answer.
        opened = self.way_out.opened(
            _EVIDENCE,
            room.root.name,
            room.root,
            isolated=self.confinement.level.own_network,
            backend=self.backend,
            holds_key=True,
        )
        way = await stack.enter_async_context(opened)
        return self.confinement.spec(way.of_command(command), room, work, way.passed(passed), network=way.socket)
