"""`fettle cancel`: end one run and wait until nothing of it lives."""

from typing import Annotated

import typer

from cli import options


def cancel(
    run: options.Run,
    reason: Annotated[str, typer.Option(help="Why; the issue shows it.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait up to 60 s until it has ended.")] = True,
    as_json: options.Json = False,
) -> None:
    """Cancel; the run stops its agent, cleans up and ends."""
    from cli import steer

    steer.cancel(run, reason=reason, wait=wait, as_json=as_json)
