"""The cost ledger, added up. What nobody knows is told as unknown, never as zero."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from cli import budgets, names, outside, render
from domain import ledger
from domain.numerals import counted
from workers import settings


class Report(BaseModel):
    """Turns since `since`, added up by `by`."""

    by: ledger.By
    since: datetime
    sums: tuple[ledger.Sum, ...]
    total: ledger.Sum


def show(by: ledger.By, since: str, repo: str, *, as_json: bool) -> None:
    """Print what turns have cost."""
    config, wanted = settings.load(), names.repository(repo) if repo else None
    start = datetime.now(UTC) - timedelta(seconds=budgets.seconds(since))

    async def work() -> Sequence[ledger.Sum]:
        async with outside.store(config) as store:
            return await store.ledger.sums(by, since=start, repo=wanted)

    sums = asyncio.run(work())
    report = Report(by=by, since=start, sums=tuple(sums), total=ledger.total(sums))
    if as_json:
        render.emit_json(report)
    elif not sums:
        render.emit(
            None,
            f"no turn has ended in the last {since}: see fettle fleet, or name more with --since 90d",
            as_json=False,
        )
    else:
        rows = [_row(found) for found in (*sums, report.total)]
        render.printer().print(render.grid((by.value, "turns", "cost", "unknown", "tokens in", "cached", "out"), rows))


def _row(found: ledger.Sum) -> tuple[str, ...]:
    unknown = ""
    if found.unknown_turns:
        kept = f", ${found.reserved_for_unknown_usd:.2f} reserved" if found.reserved_for_unknown_usd else ""
        unknown = f"{counted(found.unknown_turns, 'turn')}{kept}"
    return (
        found.key or "(none)",
        str(found.turns),
        "unknown" if found.usd is None else f"${found.usd:.2f}",
        unknown,
        *(
            "" if count is None else f"{count:,}"
            for count in (found.input_tokens, found.cached_tokens, found.output_tokens)
        ),
    )
