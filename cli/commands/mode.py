"""`fettle mode`: how much a person decides, where a repository's policy is silent."""

from typing import Annotated

import typer

from cli import options
from domain.policy import ApprovalMode


def mode(
    wanted: Annotated[
        ApprovalMode | None,
        typer.Argument(
            metavar="MODE", help="full-auto, review-merge or review-all. Not given: show it.", show_default=False
        ),
    ] = None,
    note: options.Note = "",
    as_json: options.Json = False,
) -> None:
    """Show the fleet's approval mode, or change it for runs that start from now on."""
    from cli import fleet_switches

    if wanted is None:
        fleet_switches.show_mode(as_json=as_json)
    else:
        fleet_switches.set_mode(wanted, note=note, as_json=as_json)
