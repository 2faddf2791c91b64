"""The switches of the whole fleet: pause, and the approval mode."""

from typing import Final

from cli import fleet_door, render, session, steer
from domain import fleet, wire
from domain.policy import ApprovalMode

_ASKS: Final = {
    ApprovalMode.FULL_AUTO: "nobody is asked",
    ApprovalMode.REVIEW_MERGE: "a person approves each merge",
    ApprovalMode.REVIEW_ALL: "a person approves each start of an agent and each merge",
}


def pause(*, paused: bool, note: str, as_json: bool) -> None:
    """Pause or resume the fleet."""
    state = _configure(steer.checked(lambda: fleet.Change(by=session.operator(), paused=paused, note=note)))
    word = "paused: no new work starts" if state.settings.paused else "not paused: runs are admitted"
    render.emit(state, f"the fleet is {word}{_by(state)}", as_json=as_json)


def set_mode(mode: ApprovalMode, *, note: str, as_json: bool) -> None:
    """Change the approval mode; runs that have started keep theirs."""
    state = _configure(steer.checked(lambda: fleet.Change(by=session.operator(), mode=mode, note=note)))
    line = f"{_mode(state)}{_by(state)}; it counts for runs that start from now on"
    render.emit(state, line, as_json=as_json)


def show_mode(*, as_json: bool) -> None:
    """Print the approval mode."""

    state = session.call(lambda client: fleet_door.ask(client, wire.SNAPSHOT, fleet.FleetState))
    render.emit(state, f"{_mode(state)}; a repository's own mode goes first (fettle repo show)", as_json=as_json)


def _configure(change: fleet.Change) -> fleet.FleetState:
    return session.call(lambda client: fleet_door.tell(client, wire.CONFIGURE, change, fleet.FleetState))


def _mode(state: fleet.FleetState) -> str:
    return f"the fleet's approval mode is {state.settings.mode}: {_ASKS[state.settings.mode]}"


def _by(state: fleet.FleetState) -> str:
    return f" (by {state.changed_by}{f', {state.note}' if state.note else ''})"
