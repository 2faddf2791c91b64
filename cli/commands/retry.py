"""`fettle retry`: try a stuck step again, or start a run anew that ended without a result."""

from typing import Annotated

import typer

from cli import options


def retry(
    run: options.Run,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from the base branch again; only for a run that has ended.")
    ] = False,
    note: options.Note = "",
    as_json: options.Json = False,
) -> None:
    """Retry an open run's step, or start a new run of an issue whose last one failed, was rejected or cancelled."""
    from cli import steer

    steer.retry(run, fresh=fresh, note=note, as_json=as_json)
