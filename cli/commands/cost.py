"""`fettle cost`: what the agents' turns have cost."""

from typing import Annotated

import typer

from cli import options
from domain.ledger import By


def cost(
    by: Annotated[By, typer.Option(help="Add up by repo, agent, day, run, backend or kind.")] = By.REPO,
    since: Annotated[str, typer.Option(metavar="TIME", help="Turns that ended in the last 24h, 30d, …")] = "30d",
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Only this repository.")] = "",
    as_json: options.Json = False,
) -> None:
    """Add up the ledger. A turn whose cost nobody knows is counted as unknown, never as zero."""
    from cli import costs

    costs.show(by, since, repo, as_json=as_json)
