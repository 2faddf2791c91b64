"""A host's report of itself, written beside the artifacts while its worker lives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import structlog
from pydantic import ValidationError

from activities import artifact_store
from domain import errors, host_report

_LOOK_SECONDS: Final = 1.0
_log = structlog.stdlib.get_logger(__name__)


async def read_all(store: artifact_store.ArtifactStore) -> list[host_report.Report]:
    """Every host's newest report, by id; what cannot be read is left out."""
    found = []
    for key in await asyncio.to_thread(store.keys, "hosts"):
        with suppress(OSError, ValidationError):
            found.append(host_report.Report.model_validate_json(await store.read(key)))
    return sorted(found, key=lambda report: report.host)


@asynccontextmanager
async def reporting(store: artifact_store.ArtifactStore, make: Callable[[], host_report.Report]) -> AsyncIterator[None]:
    """Write the report now and every few seconds while the context lasts, and once more at its end.

    Args:
        make: Reads the facts; called in a thread.

    Raises:
        ConfigurationError: another host, with a disk of its own, goes by the same id at this moment.
    """
    await _refuse_namesake(store, await asyncio.to_thread(make))
    beating = asyncio.create_task(_beat(store, make))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        if last := await _made(make):
            await _write(store, last.model_copy(update={"ended": True}))


async def _refuse_namesake(store: artifact_store.ArtifactStore, own: host_report.Report) -> None:
    for other in await read_all(store):
        alive = not other.ended and not other.is_lost(datetime.now(UTC))
        if other.host == own.host and other.disk != own.disk and alive:
            raise errors.ConfigurationError(
                f"host_id is {own.host}, a host of that id with another disk has reported {other.at:%H:%M:%S} UTC: "
                "runs would be sent to the wrong disk; give each host an id of its own, or wait a minute when the "
                "other one has ended"
            )


async def _beat(store: artifact_store.ArtifactStore, make: Callable[[], host_report.Report]) -> None:
    """A beat every few seconds, and one at once when a run comes or goes."""
    told: host_report.Report | None = None
    while True:
        now = await _made(make)
        if now is not None and (told is None or _is_news(now, told)):
            await _write(store, now)
            told = now
        await asyncio.sleep(_LOOK_SECONDS)


def _is_news(now: host_report.Report, told: host_report.Report) -> bool:
    beat_is_due = (now.at - told.at).total_seconds() >= host_report.BEAT_SECONDS
    return beat_is_due or now.model_copy(update={"at": told.at}) != told


async def _made(make: Callable[[], host_report.Report]) -> host_report.Report | None:
    try:
        return await asyncio.to_thread(make)
    except (OSError, ValidationError) as failure:  # of the leases: the next look may read them
        _log.warning("this host could not read what it reports", because=str(failure))
        return None


async def _write(store: artifact_store.ArtifactStore, report: host_report.Report) -> None:
    try:
        await store.put(host_report.key(report.host), report.model_dump_json().encode(), "an agent host")
    except OSError as failure:  # a full disk must not end the host's turns
        _log.warning("this host could not report itself", because=str(failure))
