"""What `fettle up` shows: the processes with their states and addresses, live on a terminal, lines elsewhere."""

import json
import sys
from contextlib import AbstractContextManager
from typing import Any, Final

from rich import console, live, table, text

from domain import numerals
from workers import children, supervisor

_COLOURS: Final = {
    children.State.READY: "green",
    children.State.RESTARTING: "red",
    children.State.STOPPED: "dim",
}


class Board(AbstractContextManager["Board"]):
    """Shows each change of a supervisor on stderr; with `as_json` the addresses go to stdout, once, when ready."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = console.Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
        self._live = live.Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._told: dict[str, str] = {}
        self._announced = False

    def __enter__(self) -> "Board":
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*failure)

    def show(self, seen: supervisor.Supervisor) -> None:
        """Show the present state; the observer of a supervisor."""
        if self._live is not None:
            self._live.update(_picture(seen), refresh=True)
        else:
            self._lines(seen)
        if seen.ready and not self._announced:
            self._announced = True
            if self._as_json:
                print(json.dumps(seen.view(), indent=2), flush=True)

    def _lines(self, seen: supervisor.Supervisor) -> None:
        for child in seen.members:
            line = f"{child.spec.name} is {child.state}" + (f": {child.note}" if child.note else "")
            if child.state is children.State.READY and child.spec.url:
                line += f" at {child.spec.url}"
            if self._told.get(child.spec.name) != line and child.state is not children.State.WAITING:
                self._told[child.spec.name] = line
                self._console.print(line, soft_wrap=True)
        if seen.ready and not self._announced:
            noted = " and ".join(child.spec.name for child in seen.members if child.note)
            how = f"everything runs, with what is said above of {noted}" if noted else "everything is ready"
            self._console.print(f"{how}, state in {seen.state}; stop with Ctrl-C", soft_wrap=True)


def _picture(seen: supervisor.Supervisor) -> table.Table:
    rows = table.Table.grid(padding=(0, 2))
    for child in seen.members:
        restarts = numerals.counted(child.restarts, "restart") if child.restarts else ""
        state = text.Text(child.state.value, style=_COLOURS.get(child.state, "yellow"))
        rows.add_row(text.Text(child.spec.name, style="bold"), state, child.spec.url, child.note or restarts)
    if seen.ready:
        rows.add_row("", "", text.Text(f"state in {seen.state}", style="dim"), text.Text("Ctrl-C stops", style="dim"))
    return rows
