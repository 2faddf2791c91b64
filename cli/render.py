"""How answers look: JSON for programs, short lines and tables for people. Untrusted text is never interpreted."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel
from rich import box, console, table, text

_UNBOUNDED: Final = 10_000
"""Columns of what is no terminal: nothing is wrapped there, so that a line can be searched and an address opened."""
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
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return console.Console(file=sys.stdout, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


def emit_json(value: Any) -> None:
    """Print one JSON value; ASCII only, so no terminal and no locale can stumble over it. A person gets it indented, a
    program in one line, so that it can also read it as the last one."""
    print(json.dumps(_plain(value), indent=2 if sys.stdout.isatty() else None))


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
    """A plain table; cells are cleaned here, styled cells come as `Text`. The first column, a name, is never folded."""
    made = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name, overflow="fold", no_wrap=index == 0)
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def facts(pairs: Sequence[tuple[str, str]]) -> text.Text:
    """Two columns, name and value; pairs without a value are left out."""
    return aligned([(text.Text(name, style="bold"), value) for name, value in pairs if value])


def aligned(rows: Sequence[Sequence[str | text.Text]]) -> text.Text:
    """Columns without a limit to the last one, whose line breaks stay: it holds addresses and commands, and one that
    is broken into two lines can be neither opened nor pasted."""
    heads = [[_cell(cell) for cell in row[:-1]] for row in rows]
    widths = [max(map(len, column)) + 2 for column in zip(*heads, strict=True)]
    lines = [_lines(head, str(row[-1]), widths) for head, row in zip(heads, rows, strict=True)]
    return text.Text("\n", no_wrap=True, overflow="ignore").join(lines)


def _cell(value: str | text.Text) -> text.Text:
    return value if isinstance(value, text.Text) else text.Text(clean(value))


def _lines(head: Sequence[text.Text], last: str, widths: Sequence[int]) -> text.Text:
    made = text.Text()
    for cell, width in zip(head, widths, strict=True):
        made.append(cell).append(" " * (width - len(cell)))
    return made.append(clean_lines(last).replace("\n", "\n" + " " * sum(widths)))


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
