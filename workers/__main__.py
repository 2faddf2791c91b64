"""`python -m workers control|agents|web`: one process of `fettle up`, or of a pod."""

import sys

from domain import errors
from workers import bootstrap, connection, settings

ROLES = {"control": bootstrap.run_control, "agents": bootstrap.run_agents, "web": bootstrap.run_web}


def main(arguments: list[str]) -> int:
    """Run one role until it is told to stop. Returns 2 for a wrong call, 3 for a world that does not answer."""
    if len(arguments) != 1 or arguments[0] not in ROLES:
        print(f"usage: python -m workers {'|'.join(ROLES)}", file=sys.stderr)  # noqa: T201 - a usage error has no log yet
        return 2
    try:
        connection.run(ROLES[arguments[0]](settings.load()))
    except errors.FettleError as refused:
        print(refused, file=sys.stderr)  # noqa: T201 - whoever started us reads the reason here
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
