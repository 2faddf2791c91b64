"""`fettle schedules`: list and steer the schedules that look for new issues."""

from typing import Annotated

import typer

from cli import options

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A repository (owner/name) or a schedule's id.", show_default=False)
]


def show(as_json: options.Json = False) -> None:
    """List every intake schedule with its last and next look."""
    from cli import render, scheduling, session

    found = session.call(scheduling.list_all)
    if as_json:
        render.emit_json(found)
    else:
        render.printer().print(scheduling.table(found))


def pause(name: Name, note: options.Note = "", as_json: options.Json = False) -> None:
    """Stop looking; open runs go on, webhooks still start runs."""
    from cli import render, scheduling, session

    found = session.call(lambda client: scheduling.pause(client, name, session.operator(), note))
    render.emit(found, f"{found.name} is paused: {found.note}", as_json=as_json)


def resume(name: Name, note: options.Note = "", as_json: options.Json = False) -> None:
    """Look again."""
    from cli import render, scheduling, session

    found = session.call(lambda client: scheduling.resume(client, name, session.operator(), note))
    render.emit(found, f"{found.name} looks every {render.span(found.every_seconds)}", as_json=as_json)


def trigger(name: Name, as_json: options.Json = False) -> None:
    """Look now, also while it is paused."""
    from cli import render, scheduling, session

    found = session.call(lambda client: scheduling.trigger(client, name))
    render.emit(found, f"{found.name} was asked to look now", as_json=as_json)
