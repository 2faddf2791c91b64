"""`fettle demo`: one issue, from its label to its merge, on an installation that is made for it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli import options


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running, to look around.")] = False,
    agent: Annotated[
        Literal["scripted", "claude"], typer.Option(help="scripted plays a recorded fix and calls no model.")
    ] = "scripted",
    state: Annotated[
        Path | None, typer.Option(help="State directory. Default: one of its own, removed at the end.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Take a sample issue to a merged pull request. Example: fettle demo --keep"""
    from cli import demonstration

    demonstration.demonstrate(state, agent, keep=keep, as_json=as_json)
