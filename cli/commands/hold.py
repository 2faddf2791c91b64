"""`fettle hold`: stop one run before its next step."""

from cli import options


def hold(run: options.Run, note: options.Note = "", as_json: options.Json = False) -> None:
    """Stop a run before its next step; what already runs may finish."""
    from cli import steer
    from domain import wire
    from domain.run import HoldRequest

    steer.send(run, wire.HOLD, lambda by: HoldRequest(by=by, note=note), as_json=as_json)
