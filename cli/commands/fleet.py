"""`fettle fleet`: the runs, what they are at, and which of them need a person."""

import sys
from typing import Annotated

import typer

from cli import options


def fleet(
    repo: Annotated[str, typer.Option(help="Only this repository, owner/name.")] = "",
    phase: Annotated[str, typer.Option(help="Only this phase, for example awaiting_approval.")] = "",
    needs_human: Annotated[bool, typer.Option("--needs-human", help="Only runs that wait for a person.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Runs that have ended too.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print once; without a terminal that is the rule.")] = False,
    details: Annotated[
        int, typer.Option(min=0, help="With --json: how many runs are asked for title, PR and head; the rest has null.")
    ] = 200,
    as_json: options.Json = False,
) -> None:
    """Print the list, or keep it on the terminal and refresh it each second until Ctrl-C."""
    from cli import overview, session

    wanted = overview.wanted(repo=repo, phase=phase, needs_human=needs_human, ended_too=everything)
    if as_json:
        session.call(lambda client: overview.print_json(client, wanted, details=details))
    elif once or not sys.stdout.isatty():
        session.call(lambda client: overview.print_once(client, wanted))
    else:
        session.call(lambda client: overview.watch(client, wanted))
