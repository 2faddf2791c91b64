"""`fettle takeover`: get a run's worktree and session for yourself."""

from typing import Annotated

import typer

from cli import options


def takeover(
    run: options.Run,
    now: Annotated[bool, typer.Option("--now", help="Interrupt the agent's turn instead of waiting for it.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the safe point.", min=0, max=86400)] = 900,
    note: options.Note = "",
    as_json: options.Json = False,
) -> None:
    """Freeze a run at a safe point and print how to enter its worktree and session."""
    from cli import takeover as place

    place.take(run, now=now, note=note, wait_seconds=wait, as_json=as_json)
