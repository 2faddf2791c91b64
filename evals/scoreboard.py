"""What a benchmark found, beside its goal: as a table for people and as one JSON object for programs."""

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from rich import box, console, table


class Row(BaseModel):
    """One number. `goal` None: measured to be known, nobody promised anything. `value` None: not measured, and `what`
    says why."""

    name: str
    what: str
    value: float | None
    unit: str
    goal: float | None = None
    at_least: bool = False
    """The goal is a lower bound."""
    load: float = Field(default_factory=lambda: os.getloadavg()[0])
    """Load average of the last minute when the measure had ended, the benchmark's own processes included."""
    detail: dict[str, Any] = {}

    @property
    def met(self) -> bool | None:
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def goal_words(self) -> str:
        return "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g} {self.unit}"


class Board(BaseModel):
    """All rows of one call, with the machine they are about."""

    command: str
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    machine: dict[str, str] = Field(default_factory=lambda: machine())  # noqa: PLW0108 - defined below
    rows: list[Row] = []

    def as_json(self) -> str:
        """One object on one line."""
        facts = self.model_dump(mode="json")
        for shown, row in zip(facts["rows"], self.rows, strict=True):
            shown["met"] = row.met
            shown["value"] = None if row.value is None else round(row.value, 3)
            shown["load"] = round(row.load, 2)
        return json.dumps(facts)

    def show(self, on: console.Console) -> None:
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        on.print(f"{self.command}   {self.at:%Y-%m-%d %H:%M} UTC   {facts}")
        shown = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, justify in (("measure", "left"), ("measured", "right"), ("goal", "right"), ("", "left")):
            shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # both are words rich knows
        shown.add_column("load", justify="right", no_wrap=True)
        shown.add_column("what", overflow="fold")
        for row in self.rows:
            verdict = {None: "", True: "met", False: "MISSED"}[row.met]
            measured = "not measured" if row.value is None else f"{_rounded(row.value)} {row.unit}"
            shown.add_row(row.name, measured, row.goal_words(), verdict, f"{row.load:.1f}", row.what)
        on.print(shown)


def machine() -> dict[str, str]:
    """What a reader needs to compare numbers: cores this process may use, memory, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    cores = len(os.sched_getaffinity(0))
    return {"cores": str(cores), "memory": f"{memory:.0f} GiB", "python": platform.python_version(), "cpu": _cpu()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """The usual order statistics; p95 is the smallest value that 95 % of them do not exceed, of few the largest one."""
    ordered = sorted(values)
    return {
        "p50": statistics.median(ordered),
        "p95": _not_exceeded(ordered, 95),
        "p99": _not_exceeded(ordered, 99),
        "least": ordered[0],
        "most": ordered[-1],
        "count": len(ordered),
    }


def rounded(facts: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in facts.items()}


def _not_exceeded(ordered: Sequence[float], percent: int) -> float:
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
