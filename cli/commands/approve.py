"""`fettle approve`: release one run at its gate, for exactly the head that a person saw."""

import sys
from typing import Annotated

import typer

from cli import options


def approve(
    run: options.Run,
    head: Annotated[str, typer.Option(help="The head SHA you reviewed, at least 7 characters.")] = "",
    action: Annotated[str, typer.Option(help="Allow this one action of the agent, by the id that explain shows.")] = "",
    note: options.Note = "",
    as_json: options.Json = False,
) -> None:
    """Approve; without --head the present head is shown and confirmed on a terminal."""
    from cli import steer

    if action:
        steer.answer(run, action=action, allow=True, note=note, as_json=as_json)
        return
    asked = None if head or as_json or not sys.stdin.isatty() else typer.confirm
    steer.decide(run, approve=True, head=head, note=note, confirm=asked, as_json=as_json)
