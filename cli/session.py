"""What a command needs from outside: the settings, a connected client, and who is typing."""

import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from temporalio.client import Client

from workers import connection, settings

OPERATOR_VARIABLE: Final = "FETTLE_OPERATOR"
_Result = TypeVar("_Result")


def call(work: Callable[[Client], Awaitable[_Result]]) -> _Result:
    """Connect, do `work`, and end the client cleanly.

    Raises:
        connection.Unreachable: no Temporal server answered.
    """

    async def connected() -> _Result:
        client = await connection.connect("cli", state=settings.load().state_dir)
        return await work(client)

    return connection.run(connected())


def operator() -> str:
    """Who decides, as histories and comments show it: FETTLE_OPERATOR, else the login name and host."""
    if named := os.environ.get(OPERATOR_VARIABLE, "").strip():
        return named[:200]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id that has no name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"[:200]
