"""`fettle approve`: release one run at its gate, for exactly the head that a person saw."""

import sys
from typing import Annotated

import typer

from cli import options


def approve(
    run: options.Run,
    head: Annotated[str, typer.Option(help="The head SHA you reviewed, at least 7 characters.")] = "",
    note: options.Note = "",
    as_json: options.Json = False,
) -> None:
    """Approve; without --head the present head is shown and confirmed on a terminal."""
    from cli import steer

    asked = None if head or as_json or not sys.stdin.isatty() else typer.confirm
    steer.decide(run, approve=True, head=head, note=note, confirm=asked, as_json=as_json)
