"""The embedded forge without the rest: the same folder, accounts and port that `fettle up` uses."""

import json
from pathlib import Path

from cli import render
from workers import embedded_forge, ports, state_directory, supervisor

_HOW_TO = """\
{url} is ready, state in {folder}; stop with Ctrl-C
  the administrator's token is in {token}
  git clone {url}/OWNER/NAME.git works for public repositories; the API is GitHub's, at the same address
  copy a repository in: curl -H "Authorization: Bearer $(cat {token})" {url}/_devforge/import \
-d '{{"owner": "devforge-admin", "name": "NAME", "path": "/path/of/a/checkout"}}'"""


async def run(state: Path, port: int | None, *, as_json: bool) -> None:
    """Serve until a signal asks to stop.

    Raises:
        state_directory.AlreadyRunning: `fettle up`, which has a forge of its own, works on this directory.
        ports.PortInUse: the port is taken.
        children.StartFailed: it does not become ready.
    """
    state = state_directory.prepare(state)
    with state_directory.lock(state, "fettle devforge"):
        supervisor.end_leftovers(state)
        try:
            chosen = ports.choose({"forge": port}, ports.recorded(state), needed=frozenset({"forge"}))
        except ports.PortInUse as taken:
            raise ports.PortInUse(taken.name, taken.port, "or name another port with --port") from None
        ports.record(state, chosen)
        forge = embedded_forge.EmbeddedForge(state, chosen.forge)

        def observe(seen: supervisor.Supervisor) -> None:
            if not seen.ready:
                return
            folder = state / embedded_forge.FOLDER
            token = folder / embedded_forge.ADMIN_TOKEN
            if as_json:
                print(json.dumps({"url": forge.url, "admin_token_file": str(token)}), flush=True)
            else:
                for line in _HOW_TO.format(url=forge.url, folder=folder, token=token).splitlines():
                    render.progress(line)

        addresses = supervisor.Addresses("", "", "", forge.url)
        await supervisor.until_signalled(supervisor.Supervisor(state, addresses, [[forge.spec()]], observe))
