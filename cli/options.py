"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Run = Annotated[str, typer.Argument(metavar="RUN", help="owner/repo#12, or 12 when unambiguous.", show_default=False)]
Repo = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository, as on the forge.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Note = Annotated[str, typer.Option("--note", help="Why, in your words; shown wherever the decision is.")]
