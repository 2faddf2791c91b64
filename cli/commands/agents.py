"""`fettle agents`: who is in the pool, and what each of them is for."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.", show_default=False)]
Backend = Annotated[str | None, typer.Option(help='claude, codex, …; "" for what the run or its type asks for.')]
Model = Annotated[str | None, typer.Option(help="Model of its turns; \"\" for the type's or the backend's own.")]
Label = Annotated[
    list[str] | None, typer.Option(help='Label of issues that it is for; repeat it. "" for none: any issue.')
]
Parallel = Annotated[int | None, typer.Option(min=0, max=1000, help="Turns at the same time. 0: no limit of its own.")]
Image = Annotated[str | None, typer.Option(help="Container image of its turns, where the sandbox is a container.")]
Appendix = Annotated[str | None, typer.Option(help="Text put after every prompt; at most 4000 characters.")]
AppendixFile = Annotated[Path | None, typer.Option(help="File that holds the appendix.")]
Notes = Annotated[str | None, typer.Option(help="For people; no prompt holds them.")]


def show_all(as_json: options.Json = False) -> None:
    """Print every agent with what it is for and what it does now."""
    from cli import agent_pool

    agent_pool.list_all(as_json=as_json)


def show(name: Name, as_json: options.Json = False) -> None:
    """Print everything about one agent, with what it inherits from its type."""
    from cli import agent_pool

    agent_pool.show(name, as_json=as_json)


def add(
    name: Name,
    kind: Annotated[str, typer.Option("--type", help="dev, reviewer, or a type of your own.")] = "dev",
    backend: Backend = None,
    model: Model = None,
    label: Label = None,
    max_parallel: Parallel = None,
    image: Image = None,
    appendix: Appendix = None,
    appendix_file: AppendixFile = None,
    notes: Notes = None,
    as_json: options.Json = False,
) -> None:
    """Add an agent; it takes turns from now on."""
    from cli import agent_pool
    from domain.roster import Kind

    given = agent_pool.given(
        labels=label,
        appendix_file=appendix_file,
        type=kind,
        backend=backend,
        model=model,
        max_parallel=max_parallel,
        image=image,
        prompt_appendix=appendix,
        notes=notes,
    )
    agent_pool.change(Kind.ADD, name, given, f"{name} is in the pool and takes turns from now on", as_json=as_json)


def edit(
    name: Name,
    backend: Backend = None,
    model: Model = None,
    label: Label = None,
    max_parallel: Parallel = None,
    image: Image = None,
    appendix: Appendix = None,
    appendix_file: AppendixFile = None,
    notes: Notes = None,
    as_json: options.Json = False,
) -> None:
    """Change what is given; everything else stays. Turns under way go on as they began."""
    from cli import agent_pool
    from domain.roster import Kind

    given = agent_pool.given(
        labels=label,
        appendix_file=appendix_file,
        backend=backend,
        model=model,
        max_parallel=max_parallel,
        image=image,
        prompt_appendix=appendix,
        notes=notes,
    )
    agent_pool.change(Kind.EDIT, name, given, f"{name} is changed, for turns that begin from now on", as_json=as_json)


def remove(name: Name, as_json: options.Json = False) -> None:
    """Take an agent out of the pool; its turns under way go on to their end."""
    from cli import agent_pool

    agent_pool.remove(name, as_json=as_json)


def pause(name: Name, as_json: options.Json = False) -> None:
    """Give an agent no more turns until it is resumed."""
    from cli import agent_pool
    from domain.roster import Kind

    agent_pool.change(Kind.PAUSE, name, {}, f"{name} is paused: turns under way go on", as_json=as_json)


def resume(name: Name, as_json: options.Json = False) -> None:
    """Let a paused agent take turns again."""
    from cli import agent_pool
    from domain.roster import Kind

    agent_pool.change(Kind.RESUME, name, {}, f"{name} takes turns again", as_json=as_json)


def change_type(
    name: Annotated[str, typer.Argument(metavar="TYPE", help="dev, reviewer, or one of your own.")],
    backend: Backend = None,
    model: Model = None,
    image: Image = None,
    appendix: Appendix = None,
    appendix_file: AppendixFile = None,
    as_json: options.Json = False,
) -> None:
    """Set what the agents of a type inherit where they say nothing themselves."""
    from cli import agent_pool

    given = agent_pool.given(
        appendix_file=appendix_file, backend=backend, model=model, image=image, prompt_appendix=appendix
    )
    agent_pool.change_type(name, given, as_json=as_json)
