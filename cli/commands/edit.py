"""`fettle edit`: change what the agent is told, or which agent it is, while a run is in flight."""

from pathlib import Path
from typing import Annotated

import typer

from cli import failures, options

Text = Annotated[str | None, typer.Option("--prompt", help="Instructions for the next agent turn.")]
File = Annotated[
    Path | None,
    typer.Option("--prompt-file", help="Read the instructions from this file.", exists=True, dir_okay=False),
]


def edit(
    run: options.Run,
    prompt: Text = None,
    prompt_file: File = None,
    model: Annotated[str | None, typer.Option(help="Model for the next agent turn.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent for the next turn; its conversation starts afresh.")] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=5, help="1 goes first, 5 last.")] = None,
    as_json: options.Json = False,
) -> None:
    """Send what was given; everything else stays."""
    from cli import names, steer
    from domain import wire
    from domain.run import Edit

    if prompt is not None and prompt_file is not None:
        raise failures.Usage("--prompt and --prompt-file both give the instructions: keep one of them")
    said = prompt_file.read_text(encoding="utf-8", errors="replace") if prompt_file else prompt
    if said is None and model is None and agent is None and priority is None:
        raise failures.Usage("nothing to change: give --prompt, --prompt-file, --model, --agent or --priority")
    if agent is not None:
        names.backend(agent, "--agent")
    if said is not None and len(said) > 10_000:
        raise failures.Usage(f"the instructions have {len(said)} characters, at most 10000 are accepted: shorten them")
    steer.send(
        run,
        wire.EDIT,
        lambda by: Edit(by=by, prompt=said, model=model, agent=agent, priority=priority),
        as_json=as_json,
    )
