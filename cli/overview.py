"""The fleet as a table: printed once, kept live on a terminal, or as JSON."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich import console, live, text
from temporalio.client import Client

from cli import failures, listing, names, render
from domain.run import Phase

_REFRESH_SECONDS: Final = 1.0
_KEEP_SECONDS: Final = 10.0
"""How long a live row's details stand while nothing that Visibility shows of it changes."""
_COLUMNS: Final = ("run", "phase", "hold", "agent", "since", "PR", "needs human", "title")
_PRINTED: Final = 200
_MOST_WAITS: Final = 5


def wanted(*, repo: str, phase: str, needs_human: bool, ended_too: bool) -> listing.Filter:
    """The filter that was asked for.

    Raises:
        failures.Usage: the repository or the phase is not one.
    """
    phases = [p.value for p in Phase]
    if phase and phase not in phases:
        raise failures.Usage(f"'{phase}' is no phase: give one of {', '.join(phases)}")
    return listing.Filter(
        repo=names.repository(repo) if repo else None, phase=phase, needs_human=needs_human, ended_too=ended_too
    )


async def print_json(client: Client, only: listing.Filter, *, details: int) -> None:
    found = await listing.rows(client, only)
    render.emit_json([*(await listing.complete(client, found[:details])), *found[details:]])


async def print_once(client: Client, only: listing.Filter) -> None:
    found = await listing.rows(client, only)
    shown = await listing.complete(client, found[:_PRINTED])
    render.printer().print(_view(shown, len(found), only))


async def watch(client: Client, only: listing.Filter) -> None:
    """Refresh until Ctrl-C. A slow server is asked less often: half of the time at most goes into asking."""
    screen = render.printer()
    screen.soft_wrap = False
    known = _Known()
    with live.Live(console=screen, auto_refresh=False, screen=False, transient=False) as view:
        while True:
            began = time.monotonic()
            found = await listing.rows(client, only)
            shown = await known.complete(client, found[: max(3, screen.size.height - 6)])
            view.update(_view(shown, len(found), only), refresh=True)
            await asyncio.sleep(max(_REFRESH_SECONDS, time.monotonic() - began))


class _Known:
    """Details of live rows, asked again only when a row has changed or has grown old."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[listing.Row, float, listing.Row]] = {}

    async def complete(self, client: Client, shown: Sequence[listing.Row]) -> list[listing.Row]:
        now = time.monotonic()
        stale = [row for row in shown if not self._is_fresh(row, now)]
        fresh = {before.run: after for before, after in zip(stale, await listing.complete(client, stale), strict=True)}
        self._rows = {row.run: (row, now, fresh[row.run]) if row.run in fresh else self._rows[row.run] for row in shown}
        return [self._rows[row.run][2] for row in shown]

    def _is_fresh(self, row: listing.Row, now: float) -> bool:
        kept = self._rows.get(row.run)
        return kept is not None and kept[0] == row and now - kept[1] < _KEEP_SECONDS


def _view(shown: Sequence[listing.Row], total: int, only: listing.Filter) -> console.Group | text.Text:
    if not total:
        return text.Text(_nothing(only))
    now = datetime.now(UTC)
    needing = sum(row.needs_human for row in shown)
    more = f", {total - len(shown)} more are not shown (narrow with --repo or --phase)" if total > len(shown) else ""
    footer = text.Text(f"{total} run{'' if total == 1 else 's'}{more}", style="dim")
    if needing:
        footer.append(f"; {needing} need{'s' if needing == 1 else ''} a person: fettle explain RUN", style="yellow")
    table = render.grid(_COLUMNS, [_cells(row, now) for row in shown])
    return console.Group(table, *map(text.Text, _waits(shown)), footer)


def _waits(shown: Sequence[listing.Row]) -> list[str]:
    """For whose files runs wait; the table has no room for that."""
    waiting = [row for row in shown if row.waits_for]
    lines = [
        f"{row.run} waits for {row.waits_for}; fettle release {row.run} lets it go on beside"
        for row in waiting[:_MOST_WAITS]
    ]
    return lines + ([f"{len(waiting) - _MOST_WAITS} more wait for files"] if len(waiting) > _MOST_WAITS else [])


def _cells(row: listing.Row, now: datetime) -> list[str | text.Text]:
    return [
        row.run,
        render.badge(row.phase, needs_human=row.needs_human),
        row.hold,
        row.agent,
        render.age(row.since, now),
        f"#{row.pull_request}" if row.pull_request else "",
        text.Text("yes", style="bold yellow") if row.needs_human else "",
        (row.title or "")[:60],
    ]


def _nothing(only: listing.Filter) -> str:
    if only != listing.Filter(ended_too=only.ended_too):
        return "no run matches: drop a filter, or add --all to see runs that have ended"
    if not only.ended_too:
        return (
            "no run is open: label an issue of a registered repository 'fettle' to start one, or see what has ended "
            "with fettle fleet --all"
        )
    return "there are no runs yet: register a repository with fettle repo add owner/name, or try fettle demo"
