"""Arguments and options that several commands share."""

from typing import Annotated

import typer


def _run(text: str) -> str:
    """Refuse what names no run before anything is connected to."""
    from cli import names

    names.parse(text)
    return text


def _repository(text: str) -> str:
    from cli import names

    return str(names.repository(text))


Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="owner/repo#12, or 12 when unambiguous.", callback=_run, show_default=False),
]
Repo = Annotated[
    str,
    typer.Argument(
        metavar="OWNER/NAME", help="A repository, as on the forge.", callback=_repository, show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Note = Annotated[str, typer.Option("--note", help="Why, in your words; shown wherever the decision is.")]
