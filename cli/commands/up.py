"""`fettle up`: everything on this machine, in the foreground."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def up(
    state: Annotated[
        Path | None, typer.Option(help="State directory. Default: FETTLE_STATE_DIR, else the user's state folder.")
    ] = None,
    temporal_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the Temporal server. Default: 7233.")
    ] = None,
    ui_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the Temporal UI. Default: 8233.")
    ] = None,
    web_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the webhook intake. Default: 8090.")
    ] = None,
    forge_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the embedded forge. Default: 8080.")
    ] = None,
    ports: Annotated[
        Literal["fixed", "auto"], typer.Option(help="auto: take free ports instead of refusing ones in use.")
    ] = "fixed",
    embedded_forge: Annotated[
        bool | None,
        typer.Option(help="Start a forge of our own. Default: when no other one is configured."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object once everything is ready.")] = False,
) -> None:
    """Start everything on this machine and keep it running. Example: fettle up --state ~/trial --ports auto"""
    from cli import status_board
    from workers import connection, laptop, settings

    request = laptop.Request(
        state=state or settings.load().state_dir,
        explicit_ports={"temporal": temporal_port, "temporal_ui": ui_port, "web": web_port, "forge": forge_port},
        automatic_ports=ports == "auto",
        own_forge=embedded_forge,
    )
    with status_board.Board(as_json=as_json) as board:
        connection.run(laptop.run(request, board.show))
