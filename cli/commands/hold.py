"""`fettle hold`: stop one run before its next step."""

from cli import options


def hold(run: options.Run, note: options.Note = "", as_json: options.Json = False) -> None:
    """Stop a run before its next step; what already runs may finish."""
    from cli import steer

    steer.hold(run, note, as_json=as_json)
