"""What `fettle up` is: one process that starts the others in order, keeps them alive, and takes them down with it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sandbox import proc
from workers import children, connection, state_directory

LEFTOVER_GRACE_SECONDS: Final = 3.0

Observer = Callable[["Supervisor"], None]


@dataclass(frozen=True)
class Addresses:
    """Where things answer. `temporal_ui` is empty when the cluster's own is not known to us."""

    temporal_address: str
    temporal_ui: str
    web_url: str
    forge_url: str


class Supervisor:
    """Runs stages of children: those of one stage start and stop together, a stage starts when the one before is
    ready and stops before it."""

    def __init__(
        self,
        state: Path,
        addresses: Addresses,
        stages: Sequence[Sequence[children.Spec]],
        observe: Observer = lambda _: None,
    ) -> None:
        """`observe` is called after each change of a child, and once when all are ready."""
        self.state = state
        self.addresses = addresses
        self.ready = False
        self._observe = observe
        self._log = state / "logs" / "supervisor.log"
        self._stages = [[children.Child(spec, state / "logs", self._changed) for spec in stage] for stage in stages]

    @property
    def members(self) -> list[children.Child]:
        """All children, in the order in which they start."""
        return [child for stage in self._stages for child in stage]

    def view(self) -> dict[str, Any]:
        """What `up.json` says: the addresses, and a pid for each process that lives now."""
        alive = {c.spec.name: c.identity for c in self.members if c.identity}
        return {
            "pid": os.getpid(),
            **asdict(self.addresses),
            "ready": self.ready,
            "processes": {name: identity.pid for name, identity in alive.items()},
            "states": {child.spec.name: child.state.value for child in self.members},
            "notes": {child.spec.name: child.note for child in self.members if child.note},
            "started": {name: identity.started for name, identity in alive.items()},
            "boot_id": proc.boot_id(),
        }

    async def serve(self, stop: asyncio.Event) -> None:
        """Start everything and keep it running until `stop` is set; nothing is left running when this returns.

        Raises:
            children.StartFailed: a child did not become ready; everything else was stopped again.
        """
        self._write()
        try:
            for stage in self._stages:
                for child in stage:
                    child.start()
                if not await self._all_ready(stage, stop):
                    return
            self.ready = True
            self._write()
            self._observe(self)
            await stop.wait()
        finally:
            self.ready = False
            await self._stop_all()

    def kill(self) -> None:
        """End every child at once; for a user who does not want to wait for `serve` to stop them in order."""
        for child in self.members:
            child.kill()

    async def _all_ready(self, stage: Sequence[children.Child], stop: asyncio.Event) -> bool:
        """False when `stop` was set before all were ready."""
        stopped = asyncio.create_task(stop.wait())
        ready = asyncio.gather(*(child.ready() for child in stage))
        both: tuple[asyncio.Future[Any], ...] = (stopped, ready)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                return False
            await ready
            return True
        finally:
            for waiting in both:
                waiting.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _stop_all(self) -> None:
        """The last stage first, so that who uses another goes before it; within a stage nobody uses anybody."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(child.stop() for child in stage))
        state_directory.write_json(
            self.state / connection.UP_FILE, self.view() | {"pid": None, "processes": {}, "started": {}}
        )

    def _changed(self, child: children.Child) -> None:
        pid = f" (process {child.identity.pid})" if child.identity else ""
        note = f": {child.note}" if child.note else ""
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {child.spec.name} is {child.state}{pid}{note}\n")
        self._write()
        self._observe(self)

    def _write(self) -> None:
        state_directory.write_json(self.state / connection.UP_FILE, self.view())


async def until_signalled(supervisor: Supervisor) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; a second one does not wait for anybody's grace time.

    Raises:
        children.StartFailed: see `Supervisor.serve`.
    """
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, asked)
    try:
        await supervisor.serve(stop)
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def end_leftovers(state: Path) -> list[str]:
    """End what a killed supervisor of this directory left behind, and return the names. The kernel ends such processes
    with their parent; this is for one that slipped through (a kernel without that call, a parent lost at its start).

    Call it with the directory's lock held. Only processes with the recorded pid and start time since this boot count.
    """
    up = connection.read_up(state) or {}
    if not up or up.get("boot_id") != proc.boot_id():
        return []
    recorded = up.get("processes", {}), up.get("started", {})
    found = {
        name: proc.Identity(int(pid), int(recorded[1][name]))
        for name, pid in recorded[0].items()
        if name in recorded[1]
    }
    left = {name: identity for name, identity in found.items() if proc.is_alive(identity)}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for identity in left.values():
            proc.send(identity, number)
        deadline = time.monotonic() + LEFTOVER_GRACE_SECONDS
        while any(map(proc.is_alive, left.values())) and time.monotonic() < deadline:
            time.sleep(0.02)
    with suppress(OSError):
        (state / connection.UP_FILE).unlink()
    return list(left)
