"""How answers look: JSON for programs, short lines and tables for people. Untrusted text is never interpreted."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel
from rich import box, console, table, text

_PIPE_WIDTH: Final = 200
_COLOURS: Final[Mapping[str, str]] = {
    "done": "green",
    "failed": "red",
    "cancelled": "dim",
    "rejected": "dim",
    "awaiting_approval": "yellow",
    "awaiting_dispatch": "yellow",
    "implementing": "cyan",
    "merging": "magenta",
    "queued": "magenta",
}


def clean(value: object) -> str:
    """One line without control characters: titles and logs are anybody's text, and a terminal obeys escapes."""
    return "".join(c if c.isprintable() else " " for c in str(value))


def clean_lines(value: str) -> str:
    """As `clean`, but line breaks stay."""
    return "\n".join(clean(line) for line in value.splitlines())


def printer() -> console.Console:
    """A console on today's stdout. Markup and emoji codes are off, so `[red]` in a title stays `[red]`."""
    # A pipe has no width: a row that is folded there cannot be searched.
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE_WIDTH
    return console.Console(file=sys.stdout, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


def emit_json(value: Any) -> None:
    """Print one JSON value; ASCII only, so no terminal and no locale can stumble over it."""
    print(json.dumps(_plain(value), indent=2))


def emit(value: Any, line: str, *, as_json: bool) -> None:
    """Print `value` as JSON, or `line` for a person."""
    if as_json:
        emit_json(value)
    else:
        printer().print(clean_lines(line))


def progress(line: str) -> None:
    """Say what goes on; stderr, so that stdout stays the answer."""
    print(clean(line), file=sys.stderr, flush=True)


def grid(columns: Sequence[str], rows: Sequence[Sequence[str | text.Text]]) -> table.Table:
    """A plain table; cells are cleaned here, styled cells come as `Text`."""
    made = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, text.Text) else text.Text(clean(cell)) for cell in row))
    return made


def facts(pairs: Sequence[tuple[str, str]]) -> table.Table:
    """Two columns, name and value; pairs without a value are left out."""
    made = table.Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            made.add_row(text.Text(name), text.Text(clean_lines(value)))
    return made


def badge(phase: str, *, needs_human: bool = False) -> text.Text:
    return text.Text(clean(phase), style="bold yellow" if needs_human else _COLOURS.get(phase, ""))


def age(since: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in its two largest units: `3d 4h`, `12m 5s`; empty when unknown."""
    if since is None:
        return ""
    return span(((now or datetime.now(UTC)) - since).total_seconds())


def span(seconds: float) -> str:
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
