"""What is kept of every decision: JSON lines, one when it is made and one when its connection has ended."""

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.egress.verdicts import Denied, Why

_MOST_BYTES: Final = 32 * 1024 * 1024
_SHOWN: Final = 300

Kind = Literal["connect", "http", "model", "none"]
"""A TLS tunnel, a plain HTTP request, a model request, or nothing that could be understood."""


class Record(BaseModel):
    """One line. The line with `event` `decided` stands before any byte was passed on; `ended` has the counts."""

    model_config = ConfigDict(extra="ignore")

    id: int
    event: Literal["decided", "ended"]
    at: datetime
    kind: Kind
    host: str
    port: int = 0
    verdict: Literal["allowed", "refused"]
    why: Why
    method: str = ""
    path: str = ""
    """Of a model or plain HTTP request, without its query."""
    address: str = ""
    status: int | None = None
    """What a model API answered."""
    bytes_up: int | None = None
    bytes_down: int | None = None
    seconds: float | None = None


class Totals(BaseModel):
    """A turn's traffic in a few numbers."""

    model_config = ConfigDict(extra="ignore")

    allowed: int = 0
    refused: int = 0
    model_requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    refused_hosts: tuple[str, ...] = Field(default=())
    """The first twenty different ones."""


class Entry:
    """One connection on its way: counts what it carries, and says so once at its end."""

    def __init__(self, journal: "Journal", record: Record) -> None:
        self._journal = journal
        self._record = record
        self._began = time.monotonic()
        self._ended = False
        self.up = 0
        """Bytes from the agent."""
        self.down = 0
        self.status: int | None = None

    def ended(self, refused: Denied | None = None) -> None:
        """Write the closing line; `refused` when the connection was cut for what came through it."""
        if self._ended:
            return
        self._ended = True
        changed: dict[str, object] = {"verdict": "refused", "why": refused.why} if refused else {}
        self._journal.end(
            self._record.model_copy(
                update={
                    "event": "ended",
                    "bytes_up": self.up,
                    "bytes_down": self.down,
                    "status": self.status,
                    "seconds": round(time.monotonic() - self._began, 3),
                    **changed,
                }
            )
        )


class Journal:
    """Keeps a turn's evidence.

    Args:
        write: Gets whole lines; what it has taken survives this process.
        most_bytes: After so much evidence nothing is allowed any more: an unrecorded connection is worse than none.
    """

    def __init__(self, write: Callable[[bytes], object], *, most_bytes: int = _MOST_BYTES) -> None:
        self._write = write
        self._left = most_bytes
        self._ids = itertools.count(1)
        self.totals = Totals()

    def allow(
        self, kind: Kind, host: str, port: int, why: Why, *, method: str = "", path: str = "", address: str = ""
    ) -> Entry:
        """Record that the connection is made.

        Raises:
            Denied: the evidence is full.
        """
        if self._left <= 0:
            raise Denied(Why.EVIDENCE_FULL, "this turn has made more connections than can be recorded: end the turn")
        record = self._record(kind, host, port, "allowed", why, method, path).model_copy(update={"address": address})
        self.totals.allowed += 1
        self.totals.model_requests += kind == "model"
        self._put(record)
        return Entry(self, record)

    def refuse(self, kind: Kind, host: str, port: int, why: Why, *, method: str = "", path: str = "") -> None:
        """Record that it is not made; dropped, not refused, when the evidence is full."""
        self.totals.refused += 1
        known = self.totals.refused_hosts
        if host and host not in known and len(known) < 20:
            self.totals.refused_hosts = (*known, host[:_SHOWN])
        if self._left > 0:
            self._put(self._record(kind, host, port, "refused", why, method, path))

    def end(self, record: Record) -> None:
        """For `Entry` alone."""
        self.totals.bytes_up += record.bytes_up or 0
        self.totals.bytes_down += record.bytes_down or 0
        self._put(record)

    def _record(
        self, kind: Kind, host: str, port: int, verdict: Literal["allowed", "refused"], why: Why, method: str, path: str
    ) -> Record:
        return Record(
            id=next(self._ids),
            event="decided",
            at=datetime.now(UTC),
            kind=kind,
            host=host[:_SHOWN],
            port=port,
            verdict=verdict,
            why=why,
            method=method[:20],
            path=path[:_SHOWN],
        )

    def _put(self, record: Record) -> None:
        line = record.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._left -= len(line)
        self._write(line)
