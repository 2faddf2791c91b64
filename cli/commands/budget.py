"""`fettle budget`: how much may be spent, and how much is."""

from typing import Annotated

import typer

from cli import options

Repository = Annotated[str, typer.Option(metavar="OWNER/NAME", help="Only this repository.")]


def show(as_json: options.Json = False) -> None:
    """Print the limits, today's money, the turns under way and the providers that are left alone."""
    from cli import budgets

    budgets.show(as_json=as_json)


def change(
    run: Annotated[str | None, typer.Option(metavar="USD", help='Of one run; "" for no limit.')] = None,
    issue: Annotated[str | None, typer.Option(metavar="USD", help='Of all runs of one issue; "" for none.')] = None,
    repository: Annotated[str | None, typer.Option(metavar="USD", help='Of one repository a day; "" for none.')] = None,
    day: Annotated[str | None, typer.Option(metavar="USD", help='Of the whole fleet a day; "" for none.')] = None,
    turn: Annotated[str | None, typer.Option(metavar="USD", help="To reserve for a turn without experience.")] = None,
    only: Annotated[
        str, typer.Option("--only", metavar="OWNER/NAME", help="With --repository: of this one alone.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """Set the limits that are given; the others stay. Days are UTC."""
    from cli import budgets

    budgets.set_limits(run=run, issue=issue, repository=repository, day=day, turn=turn, only=only, as_json=as_json)


def override(
    usd: Annotated[float, typer.Option(min=0.01, max=1_000_000, help="So many dollars more than every limit.")],
    lasting: Annotated[str, typer.Option("--for", metavar="TIME", help="How long, at most 7d: 90m, 2h, 1d.")] = "2h",
    repo: Repository = "",
    issue: Annotated[int, typer.Option(min=0, help="Only this issue of --repo. 0: all of them.")] = 0,
    note: options.Note = "",
    as_json: options.Json = False,
) -> None:
    """Allow more for a while; it ends by itself, and runs that wait go on within a minute."""
    from cli import budgets

    budgets.override(usd, lasting, repo, issue, note, as_json=as_json)


def clear(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="As fettle budget show names it.")],
    as_json: options.Json = False,
) -> None:
    """Ask a provider again that is left alone after it refused."""
    from cli import budgets

    budgets.change(f"{provider} is asked again", as_json=as_json, clear_provider=provider)
