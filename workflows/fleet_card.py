"""The fleet's card in the Temporal Web UI: its switches, who works, what is spent, who is left alone."""

from datetime import datetime

from domain import budget, fleet, roster

_SHOWN = 50


def card(state: fleet.FleetState, now: datetime) -> str:
    """Markdown; pure, from the state alone."""
    switch = f"paused by {state.changed_by}" if state.settings.paused else "taking work"
    note = f": {state.note}" if state.note else ""
    lines = [
        f"**Fleet** {switch}{note}; mode `{state.settings.mode}`; {len(state.repositories)} repositories",
        *_agents(state),
        *_money(state, now),
    ]
    cooling = [c for c in state.pool.cool_downs.providers.values() if c.until > now]
    lines += [f"- `{c.provider}` is left alone until {c.until:%Y-%m-%d %H:%M:%S} UTC" for c in cooling]
    return "\n".join(lines)


def _agents(state: fleet.FleetState) -> list[str]:
    load = state.pool.load()
    return [_agent(agent, load.get(agent.name, 0)) for agent in state.pool.pool.agents[:_SHOWN]]


def _agent(agent: roster.Instance, turns: int) -> str:
    most = f" of {agent.max_parallel}" if agent.max_parallel else ""
    labels = f", for {', '.join(agent.match_labels)}" if agent.match_labels else ""
    return f"- `{agent.name}`: {turns}{most} turns{labels}{', paused' if agent.paused else ''}"


def _money(state: fleet.FleetState, now: datetime) -> list[str]:
    key = budget.Key(scope=budget.Scope.DAY, name=f"{now:%Y-%m-%d}")
    limit = state.pool.book.allowed(key, now)
    of = f" of ${limit:.2f}" if limit is not None else ""
    held = state.pool.reserved().get(key.id, 0.0)
    return [f"- today: ${state.pool.book.spent(key):.2f} spent, ${held:.2f} reserved{of}"]
