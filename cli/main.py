"""The entry point: parse the command's name, import that command alone, turn failures into words and exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer import core

from cli import catalog, failures


class _Listed(core.TyperCommand):
    """A command as the table describes it; it stands in for the real one until that is used."""


class LazyGroup(core.TyperGroup):
    """A group whose commands are known from the table and imported on use."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._entries())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = self._entries().get(cmd_name)
        if not isinstance(found, catalog.Entry):
            return found
        return _Listed(cmd_name, callback=None, help=found.help, rich_help_panel=found.panel or None)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(self._entries()[str(name)]) if isinstance(command, _Listed) else command, rest

    def _entries(self) -> dict[str, Any]:
        """By the last word of the name: an entry of the table, or the group below this one."""
        prefix = "" if self.name in {None, "fettle"} else f"{self.name} "
        own = {e.name.removeprefix(prefix): e for e in catalog.COMMANDS if e.name.startswith(prefix)}
        entries: dict[str, Any] = {word: entry for word, entry in own.items() if " " not in word}
        if not prefix:
            entries |= {word: _group(word) for word in catalog.GROUPS}
        self.commands = entries  # what a mistyped name is compared with
        return entries


def _group(name: str) -> LazyGroup:
    text, panel = catalog.GROUPS[name]
    first = next(e for e in catalog.COMMANDS if e.name.startswith(f"{name} "))
    return LazyGroup(name=name, help=f"{text}\n\nExample: {first.example}", no_args_is_help=True, rich_help_panel=panel)


def _load(entry: catalog.Entry) -> Any:
    function = getattr(import_module(entry.module), entry.function)
    app = typer.Typer(add_completion=False)
    # The docstring is for readers of the code; the table speaks to users, once for the list and for the command.
    app.command(entry.name.split()[-1], help=f"{entry.help}\n\nExample: {entry.example}")(function)
    return typer.main.get_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fettle {metadata.version('fettle-orchestrator')}")
        raise typer.Exit


app = typer.Typer(name="fettle", cls=LazyGroup, no_args_is_help=True, add_completion=True)


@app.callback(
    help="Durable runs that take every issue to a reviewed, verified, merged change.\n\n"
    "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 Temporal or forge unreachable, 130 interrupted.\n\n"
    "Example: fettle demo"
)
def _root(
    state: Annotated[
        str,
        typer.Option("--state", metavar="DIR", help="State directory, as given to fettle up. Also: FETTLE_STATE_DIR."),
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if state:
        os.environ["FETTLE_STATE_DIR"] = state  # the settings, and processes that the command starts, read it there


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing but the answer goes to stdout."""
    return failures.boundary(
        lambda: typer.main.get_command(app).main(list(arguments), prog_name="fettle", standalone_mode=False), arguments
    )


def main() -> None:
    """What the `fettle` script calls."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
