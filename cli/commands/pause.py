"""`fettle pause`: the whole fleet starts no new work."""

from cli import options


def pause(note: options.Note = "", as_json: options.Json = False) -> None:
    """Admit no run any more; runs that already work go on, to their merge or their end."""
    from cli import fleet_switches

    fleet_switches.pause(paused=True, note=note, as_json=as_json)
