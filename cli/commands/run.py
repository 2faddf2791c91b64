"""`fettle run`: one issue in a copy of a local repository, up to its merge."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from domain.policy import ApprovalMode


def run(
    title: Annotated[str, typer.Option(help="Title of the issue.")],
    body: Annotated[str, typer.Option(help="What is wrong, or wanted; the agent reads it.")] = "",
    repo: Annotated[Path, typer.Option(help="A checkout. Its last commit is copied; it is only read.")] = Path("."),
    verify: Annotated[str, typer.Option(help="Shell command that must pass on the change.")] = "",
    agent: Annotated[str, typer.Option(help="Agent. Default: the configured one, else the first found.")] = "",
    script: Annotated[Path | None, typer.Option(help="Play this script instead of calling a model.")] = None,
    mode: Annotated[ApprovalMode, typer.Option(help="How much a person decides.")] = ApprovalMode.FULL_AUTO,
    apply: Annotated[bool, typer.Option("--apply", help="Fast-forward the checkout to the merged result.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="State directory. Default: 'local' in the user's state folder.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long the run may take.", min=0.1)] = 60,
    as_json: options.Json = False,
) -> None:
    """Work on an issue in a local repository. Example: fettle run --title "Fix the rounding" --verify "make test" """
    from cli import local_run

    asked = local_run.Asked(
        repo=repo,
        title=title,
        body=body,
        agent=agent,
        script=script,
        verify=verify,
        mode=mode,
        apply=apply,
        state=state,
        minutes=minutes,
    )
    local_run.take_on(asked, as_json=as_json)
