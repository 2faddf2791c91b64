"""`fettle handback`: let a run that you had taken over go on."""

from cli import options


def handback(run: options.Run, note: options.Note = "", as_json: options.Json = False) -> None:
    """Record your changes as a commit, tell the agent about them, and let the run go on."""
    from cli import takeover as place

    place.give_back(run, note=note, as_json=as_json)
