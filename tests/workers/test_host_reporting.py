import asyncio
from datetime import UTC, datetime
from pathlib import Path

from activities import artifact_store
from domain import host_report
from workers import host_reporting


async def test_a_host_whose_facts_could_not_be_read_once_reports_again(tmp_path: Path) -> None:
    """A disk that fails for a moment must not make a living host a lost one."""
    store, asked, again = artifact_store.DirectoryStore(tmp_path), 0, asyncio.Event()
    loop = asyncio.get_running_loop()

    def make() -> host_report.Report:
        nonlocal asked
        asked += 1
        if asked == 2:  # the first is the look for a namesake
            raise OSError(5, "Input/output error")
        if asked == 4:
            loop.call_soon_threadsafe(again.set)
        return host_report.Report(host="a", at=datetime.now(UTC))

    async with host_reporting.reporting(store, make), asyncio.timeout(30):
        await again.wait()
        [report] = await host_reporting.read_all(store)
        assert not report.ended
    [report] = await host_reporting.read_all(store)
    assert report.ended
