"""How a judge's process runs: confined like an agent's, in an empty directory that is gone when it has answered."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from activities import rooms, turn_process
from integrations.agent import judge, port
from sandbox import process


@dataclass(frozen=True)
class ConfinedRunner:
    """`judge.Runner` on this host."""

    state_dir: Path
    confinement: rooms.Confinement

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
            done = await process.capture(self.confinement.spec(make(room.home), room, work, passed), seconds=seconds)
        finally:
            await process.uncancelled(asyncio.to_thread(shutil.rmtree, room.root, ignore_errors=True))
        stderr = done.stderr.decode("utf-8", "replace")
        return judge.Exit(turn_process.exit_code_of(done.status), done.stdout, stderr, done.timed_out)
