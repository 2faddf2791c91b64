"""`fettle doctor`: is everything there that a run needs?"""

import typer

from cli import options


def doctor(as_json: options.Json = False) -> None:
    """Print one line a check, each problem with its next step; exit 1 when a check fails, 3 when nobody answers."""
    from cli import checkup, failures, render

    found = checkup.run()
    if as_json:
        render.emit_json(found)
    else:
        render.printer().print(checkup.table(found))
    if any(check.unreachable for check in found):
        raise typer.Exit(failures.UNREACHABLE)
    if any(check.level is checkup.Level.FAIL for check in found):
        raise typer.Exit(failures.FAILED)
