"""What the processes of one installation use: resident memory, and CPU over a time."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Use(NamedTuple):
    """`cpu_percent` is of one core."""

    resident_mb: float
    cpu_percent: float


def resident_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes), pages that are shared with other processes included."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_seconds(pid: int) -> float:
    """User and system time of the process up to now, without its children."""
    return sum(_times(pid)[:2])


def children_cpu_seconds(pid: int) -> float:
    """The same of the children that it has started and waited for, and of theirs."""
    return sum(_times(pid)[2:])


def machine_seconds() -> tuple[float, float]:
    """CPU seconds of the whole machine since boot: all of them, and those in which a core had nothing to do."""
    # proc(5), first line: user nice system idle iowait irq softirq steal, then guest times that user includes.
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return sum(ticks) / _TICKS_A_SECOND, (ticks[3] + ticks[4]) / _TICKS_A_SECOND


def _times(pid: int) -> list[float]:
    # proc(5): the name in brackets may hold anything, so fields count from the last bracket; 14 to 17 are the times.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return [int(field) / _TICKS_A_SECOND for field in fields[11:15]]


async def watch(pids: Mapping[str, int], seconds: float) -> dict[str, Use]:
    """CPU over the next `seconds` and memory at their end, by the names of `pids`."""
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    return {name: Use(resident_mb(pid), (cpu_seconds(pid) - before[name]) / passed * 100) for name, pid in pids.items()}


async def settle(pid: int, *, percent: float, window: float, seconds: float) -> bool:
    """Wait until the process uses less than `percent` of a core over one `window`; False when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (await watch({"": pid}, window))[""].cpu_percent < percent:
            return True
    return False
