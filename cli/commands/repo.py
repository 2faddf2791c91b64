"""`fettle repo`: which repositories Fettle works on, and how."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

Base = Annotated[str | None, typer.Option(help="Branch that changes are merged into. Default: the forge's.")]
Mode = Annotated[str | None, typer.Option(help="full-auto, review-merge or review-all. Default: the fleet's.")]
Verify = Annotated[
    str | None, typer.Option(help='Command run after the push, before the pull request opens; "" for none.')
]
Agent = Annotated[str | None, typer.Option(help="Agent for this repository. Default: the installation's.")]
AgentModel = Annotated[str | None, typer.Option("--model", help="The agent's model. Default: the agent's own.")]
Author = Annotated[
    list[str] | None,
    typer.Option(help="Login whose issues may start runs; repeat it. Default: whoever may write to the repository."),
]
InFlight = Annotated[int | None, typer.Option(min=1, max=1000, help="Runs at once. Default: 4.")]
Collision = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Likelihood of a file in common above which a run waits; 1: never. Default: 0.25."),
]
NoChecks = Annotated[str | None, typer.Option(help="A commit without checks: hold, fail or merge. Default: hold.")]
Method = Annotated[str | None, typer.Option(help="merge, squash or rebase. Default: merge.")]
Other = Annotated[
    list[str] | None,
    typer.Option("--policy", metavar="KEY=VALUE", help="Any other key of the policy; repeat it. See repo show."),
]


def add(
    repo: options.Repo,
    base: Base = None,
    mode: Mode = None,
    verify: Verify = None,
    agent: Agent = None,
    model: AgentModel = None,
    author: Author = None,
    max_in_flight: InFlight = None,
    max_collision: Collision = None,
    no_checks: NoChecks = None,
    merge_method: Method = None,
    policy: Other = None,
    as_json: options.Json = False,
) -> None:
    """Check access, store, and look for issues from now on. Nothing is stored when access is missing."""
    from cli import registering

    given = registering.given(
        policy or (),
        base_branch=base,
        approval_mode=mode,
        verify_command=verify,
        agent=agent,
        model=model,
        allowed_authors=author,
        max_in_flight=max_in_flight,
        max_collision=max_collision,
        no_checks=no_checks,
        merge_method=merge_method,
    )
    registering.put(repo, given, new=True, as_json=as_json)


def change(
    repo: options.Repo,
    base: Base = None,
    mode: Mode = None,
    verify: Verify = None,
    agent: Agent = None,
    model: AgentModel = None,
    author: Author = None,
    max_in_flight: InFlight = None,
    max_collision: Collision = None,
    no_checks: NoChecks = None,
    merge_method: Method = None,
    policy: Other = None,
    as_json: options.Json = False,
) -> None:
    """Change what is given; everything else stays."""
    from cli import registering

    given = registering.given(
        policy or (),
        base_branch=base,
        approval_mode=mode,
        verify_command=verify,
        agent=agent,
        model=model,
        allowed_authors=author,
        max_in_flight=max_in_flight,
        max_collision=max_collision,
        no_checks=no_checks,
        merge_method=merge_method,
    )
    registering.put(repo, given, new=False, as_json=as_json)


def show_all(as_json: options.Json = False) -> None:
    """Print every registered repository."""
    from cli import registering

    registering.list_all(as_json=as_json)


def show(repo: options.Repo, as_json: options.Json = False) -> None:
    """Print the whole policy, marking what was set, and the schedule."""
    from cli import registering

    registering.show(repo, as_json=as_json)


def remove(repo: options.Repo, as_json: options.Json = False) -> None:
    """Remove registration and schedule; learnings stay."""
    from cli import registering

    registering.remove(repo, as_json=as_json)


def learned(
    repo: options.Repo,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 20,
    as_json: options.Json = False,
) -> None:
    """Print kind, run and lesson, newest first."""
    from cli import registering

    registering.learned(repo, limit, as_json=as_json)


def check(
    path: Annotated[Path, typer.Argument(help="A WORKFLOW.md, or the folder that holds one.")] = Path(),
    with_prompt: Annotated[bool, typer.Option("--prompt", help="Also print the prompt of an example issue.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print every mistake with its line, and what the file means. Nothing but the file is read."""
    from cli import checking

    raise typer.Exit(checking.check(path, with_prompt=with_prompt, as_json=as_json))
