"""A scripted agent as a test sees it: its processes, and a place in its script where it waits for the test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import proc
from tests.e2e.waiting import until


@dataclass(frozen=True)
class RunningAgent:
    session: str
    launcher: proc.Identity
    program: proc.Identity


@dataclass(frozen=True)
class Gate:
    """Steps of a script, and the test's side of them."""

    place: Path
    seconds: float = 120
    """How long the script waits before it gives up."""

    @property
    def steps(self) -> list[dict[str, Any]]:
        here = {"run": {"command": f"touch '{self.place}.reached'"}}
        return [here, {"wait_for_file": {"path": f"{self.place}.open", "seconds": self.seconds}}]

    async def reached(self, seconds: float = 30) -> None:
        await until(lambda: Path(f"{self.place}.reached").exists(), seconds, f"the agent at {self.place.name}")

    def open(self) -> None:
        Path(f"{self.place}.open").touch()
