"""`fettle resume`: the paused fleet starts work again."""

from cli import options


def resume(note: options.Note = "", as_json: options.Json = False) -> None:
    """Resume admissions."""
    from cli import fleet_switches

    fleet_switches.pause(paused=False, note=note, as_json=as_json)
