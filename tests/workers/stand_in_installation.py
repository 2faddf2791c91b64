"""A supervisor over small stand-in children, as its own process: what the tests of `fettle up` kill and restart.

Run as `python -m tests.workers.stand_in_installation STATE`; it prints one line once everything is ready.
"""

import sys
from pathlib import Path
from typing import Final

from workers import children, connection, state_directory, supervisor

CHILD: Final = """
import json, os, signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
order = open(sys.argv[2], "a")
order.write(f"start {sys.argv[1]}\\n"); order.flush()
print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)
stop.wait()
order.write(f"stop {sys.argv[1]}\\n"); order.flush()
"""


def stages(state: Path) -> list[list[children.Spec]]:
    """Two stages of children that write down when they start and stop."""

    def spec(name: str) -> children.Spec:
        return children.Spec(name, (sys.executable, "-I", "-S", "-c", CHILD, name, str(state / "order")))

    return [[spec("first")], [spec("second"), spec("third")]]


def main(state: Path) -> None:
    state = state_directory.prepare(state)
    with state_directory.lock(state, "fettle up"):
        ended = supervisor.end_leftovers(state)

        def observe(view: supervisor.Supervisor) -> None:
            if view.ready:
                sys.stdout.write(" ".join(["ready", *ended]) + "\n")
                sys.stdout.flush()

        addresses = supervisor.Addresses("127.0.0.1:1", "", "http://127.0.0.1:2", "")
        connection.run(supervisor.until_signalled(supervisor.Supervisor(state, addresses, stages(state), observe)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
