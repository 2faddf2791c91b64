"""`fettle logs`: what the agent of one run says and does."""

from typing import Annotated

import typer

from cli import failures, options


def logs(
    run: options.Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends or Ctrl-C.")] = False,
    turn: Annotated[
        int | None, typer.Option("--round", min=1, help="The agent turn to print. Default: the newest.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The lines as the agent's CLI wrote them.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print the newest turn, or follow all of them from there on."""
    from cli import reading, session

    if as_json and (follow or raw):
        raise failures.Usage("--json prints one list and ends, --follow and --raw do not: choose one of them")
    session.call(lambda client: reading.logs(client, run, turn=turn, follow=follow, raw=raw, as_json=as_json))
