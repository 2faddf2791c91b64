"""`fettle release`: let a held run go on."""

from cli import options


def release(run: options.Run, note: options.Note = "", as_json: options.Json = False) -> None:
    """Take the standing hold off a run."""
    from cli import steer
    from domain import wire
    from domain.run import HoldRequest

    steer.send(run, wire.RELEASE, lambda by: HoldRequest(by=by, note=note), as_json=as_json)
