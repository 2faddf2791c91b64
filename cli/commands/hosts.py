"""`fettle hosts`: the agent hosts, what they can run, and what they run now."""

from cli import options


def hosts(as_json: options.Json = False) -> None:
    """Print slots, leased runs, agents with their versions, sandbox level and age of the last beat."""
    from cli import hosting, render, session

    found = session.call(hosting.list_all)
    if as_json:
        render.emit_json(found)
    else:
        render.printer().print(hosting.table(found))
