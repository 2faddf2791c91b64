"""`fettle worker`: one process of an installation in the foreground, and who polls."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

State = Annotated[
    Path | None, typer.Option("--state", help="State directory. Default: FETTLE_STATE_DIR, else the user's folder.")
]


def control(state: State = None) -> None:
    """Poll workflows and everything that needs no worktree; end with Ctrl-C or SIGTERM."""
    from cli import foreground
    from workers import bootstrap

    foreground.run(bootstrap.run_control, state)


def agents(state: State = None) -> None:
    """Lease slots to runs and run their agents on this host; end with Ctrl-C or SIGTERM."""
    from cli import foreground
    from workers import bootstrap

    foreground.run(bootstrap.run_agents, state)


def web(state: State = None) -> None:
    """Take webhooks; end with Ctrl-C or SIGTERM."""
    from cli import foreground
    from workers import bootstrap

    foreground.run(bootstrap.run_web, state)


def migrate(state: State = None, as_json: options.Json = False) -> None:
    """Migrate; safe to repeat, and in several processes at once."""
    from cli import foreground

    foreground.migrate(state, as_json=as_json)


def pollers(as_json: options.Json = False) -> None:
    """Print queue, process and age of its last poll."""
    from cli import polling, render, session

    found = session.call(polling.list_all)
    if as_json:
        render.emit_json(found)
    else:
        render.printer().print(polling.table(found))
