"""The agents of the pool: shown with what they do now, and changed by one update each."""

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from temporalio.client import Client

from cli import failures, fleet_door, names, render, session, steer
from domain import roster, turns, wire

_INHERITED: Final = "(the run's)"


class Shown(BaseModel):
    """One agent with what it inherits, and what it does now."""

    name: str
    type: str
    backend: str
    model: str
    image: str
    match_labels: tuple[str, ...]
    max_parallel: int
    paused: bool
    notes: str
    prompt_appendix: str
    runs: tuple[str, ...]


def list_all(*, as_json: bool) -> None:
    """Print the pool."""
    state = session.call(_state)
    found = [_shown(state, agent) for agent in state.pool.agents]
    if as_json:
        render.emit_json(found)
        return
    rows = [
        (
            agent.name,
            agent.type,
            agent.backend or _INHERITED,
            agent.model or _INHERITED,
            ", ".join(agent.match_labels),
            f"{len(agent.runs)}{f' of {agent.max_parallel}' if agent.max_parallel else ''}",
            "paused" if agent.paused else "",
        )
        for agent in found
    ]
    render.printer().print(render.grid(("agent", "type", "backend", "model", "for labels", "turns", ""), rows))


def show(name: str, *, as_json: bool) -> None:
    """Print one agent.

    Raises:
        failures.Failed: the pool has no such agent.
    """
    state = session.call(_state)
    agent = state.pool.agent(name)
    if agent is None:
        others = ", ".join(a.name for a in state.pool.agents) or "nobody"
        raise failures.Failed(f"the pool has no agent '{name}', it has {others}: fettle agents list")
    found = _shown(state, agent)
    if as_json:
        render.emit_json(found)
        return
    facts = [
        ("agent", f"{found.name}{' (paused)' if found.paused else ''}"),
        ("type", found.type),
        ("backend", found.backend or _INHERITED),
        ("model", found.model or _INHERITED),
        ("image", found.image),
        ("for labels", ", ".join(found.match_labels)),
        ("turns at once", str(found.max_parallel or "no limit")),
        ("works on", ", ".join(found.runs)),
        ("notes", found.notes),
        ("appendix", found.prompt_appendix),
    ]
    render.printer().print(render.facts(facts))


def change(kind: roster.Kind, name: str, given: dict[str, Any], line: str, *, as_json: bool) -> None:
    """Make a change to the pool and say `line`."""
    wanted = steer.checked(lambda: roster.Change(by=session.operator(), kind=kind, name=name, given=given))
    pool = session.call(lambda client: fleet_door.tell(client, wire.CHANGE_AGENTS, wanted, roster.Pool))
    render.emit(pool.agent(name) or {"agent": name, "agents": [a.name for a in pool.agents]}, line, as_json=as_json)


def remove(name: str, *, as_json: bool) -> None:
    """Take an agent out of the pool, and say it when it was the last one of its type."""

    async def work(client: Client) -> tuple[roster.Instance | None, roster.Pool]:
        before = (await fleet_door.ask(client, wire.TURNS, turns.State)).pool.agent(name)
        wanted = steer.checked(lambda: roster.Change(by=session.operator(), kind=roster.Kind.REMOVE, name=name))
        return before, await fleet_door.tell(client, wire.CHANGE_AGENTS, wanted, roster.Pool)

    gone, pool = session.call(work)
    line = f"{name} takes no more turns and is gone"
    if gone is not None and all(agent.type != gone.type for agent in pool.agents):
        line += (
            f"; nobody of the type '{gone.type}' is left, and a run that asks for one fails: "
            f"fettle agents add NAME --type {gone.type}"
        )
    render.emit({"agent": name, "agents": [a.name for a in pool.agents]}, line, as_json=as_json)


def change_type(name: str, given: dict[str, Any], *, as_json: bool) -> None:
    """Set what the members of a type inherit.

    Raises:
        failures.Usage: nothing was given.
    """
    if not given:
        raise failures.Usage(f"nothing to change on the type '{name}': give a setting, see fettle agents type --help")
    wanted = steer.checked(lambda: roster.Change(by=session.operator(), kind=roster.Kind.TYPE, name=name, given=given))
    pool = session.call(lambda client: fleet_door.tell(client, wire.CHANGE_AGENTS, wanted, roster.Pool))
    members = ", ".join(a.name for a in pool.agents if a.type == name) or "nobody yet"
    render.emit(pool.type(name), f"the type '{name}' is changed; it counts for {members}", as_json=as_json)


def given(*, labels: list[str] | None = None, appendix_file: Path | None = None, **named: Any) -> dict[str, Any]:
    """The fields that were typed.

    Raises:
        failures.Usage: the file of the appendix cannot be read, or there is no such backend.
    """
    found = {key: value for key, value in named.items() if value is not None}
    if found.get("backend"):
        names.backend(found["backend"])
    if labels is not None:
        found["match_labels"] = tuple(label for label in labels if label)
    if appendix_file is not None:
        try:
            found["prompt_appendix"] = appendix_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as failure:
            raise failures.Usage(f"--appendix-file {appendix_file} cannot be read ({failure}): name a text file") from (
                failure
            )
    return found


async def _state(client: Client) -> turns.State:
    return await fleet_door.ask(client, wire.TURNS, turns.State)


def _shown(state: turns.State, agent: roster.Instance) -> Shown:
    pool = state.pool
    return Shown(
        name=agent.name,
        type=agent.type,
        backend=pool.backend(agent),
        model=pool.model(agent),
        image=pool.image(agent),
        match_labels=agent.match_labels,
        max_parallel=agent.max_parallel,
        paused=agent.paused,
        notes=agent.notes,
        prompt_appendix=pool.appendix(agent),
        runs=tuple(lease.run for lease in state.leases if lease.instance == agent.name),
    )
