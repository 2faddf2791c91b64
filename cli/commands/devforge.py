"""`fettle devforge`: the small forge alone, for trials."""

from pathlib import Path
from typing import Annotated

import typer


def devforge(
    state: Annotated[
        Path | None, typer.Option(help="State directory. Default: FETTLE_STATE_DIR, else the user's state folder.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on. Default: the last one, else 8080.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object once it is ready.")] = False,
) -> None:
    """Run the forge alone in the foreground. Example: fettle devforge --port 8080"""
    from cli import forge_alone
    from workers import connection, settings

    connection.run(forge_alone.run(state or settings.load().state_dir, port, as_json=as_json))
