"""`fettle reject`: end one run without a merge, for the head that a person saw."""

import sys
from typing import Annotated

import typer

from cli import options


def reject(
    run: options.Run,
    note: Annotated[str, typer.Option("--note", help="Why, in your words; the issue shows it.", show_default=False)],
    action: Annotated[str, typer.Option(help="Refuse this one action of the agent; the run goes on without it.")] = "",
    head: Annotated[str, typer.Option(help="The head SHA you reviewed, at least 7 characters.")] = "",
    as_json: options.Json = False,
) -> None:
    """Reject; without --head the present head is shown and confirmed on a terminal."""
    from cli import steer

    if action:
        steer.answer(run, action=action, allow=False, note=note, as_json=as_json)
        return
    asked = None if head or as_json or not sys.stdin.isatty() else typer.confirm
    steer.decide(run, approve=False, head=head, note=note, confirm=asked, as_json=as_json)
