"""`fettle pause`: the whole fleet starts no new work."""

from cli import options


def pause(note: options.Note = "", as_json: options.Json = False) -> None:
    """Pause admissions everywhere; runs in flight go on to their next gate."""
    from cli import steer

    steer.configure(paused=True, note=note, as_json=as_json)
