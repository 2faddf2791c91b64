"""`fettle breakdown`: a spec becomes issues, first on paper, then on the forge."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def _repository(text: str) -> str:
    from cli import names

    return str(names.repository(text))


def breakdown(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A Markdown file.", show_default=False)],
    repo: Annotated[
        str,
        typer.Option(metavar="OWNER/NAME", help="Where the issues belong.", callback=_repository, show_default=False),
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="File the issues. Without it nothing is written; they are shown.")
    ] = False,
    most: Annotated[int, typer.Option("--max", min=1, max=15, help="New issues at most.")] = 15,
    label: Annotated[
        list[str] | None, typer.Option(help="Put this label on every new issue; repeat it. 'fettle' starts their runs.")
    ] = None,
    tracking: Annotated[
        int, typer.Option(min=0, help="Issue that keeps the checklist as a comment, without --apply too. 0: none.")
    ] = 0,
    as_json: options.Json = False,
) -> None:
    """Propose issues, or file them. Example: fettle breakdown SPEC.md --repo acme/api"""
    from cli import breaking_down

    asked = breaking_down.Asked(
        spec=spec, repo=repo, apply=apply, most=most, labels=tuple(label or ()), tracking=tracking
    )
    breaking_down.carry_out(asked, as_json=as_json)
