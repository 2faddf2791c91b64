"""What confines the agent of a command that brings its own installation: the demo, and `fettle run`."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from cli import failures
from sandbox import levels
from workers import confinement, settings


class Walls(NamedTuple):
    """`level` is for the setting; `words` are for the one who watches."""

    level: str
    words: str


async def for_our_own(known: settings.Settings) -> Walls:
    """For an agent that plays a script of ours or of the user's: confined where this machine can, else not, and said
    so. A level that the user has asked for is taken or refused, never exchanged.

    Raises:
        failures.Failed: the user has asked for a level that does not hold here.
    """
    why_not = await _why_not(known)
    if os.environ.get("FETTLE_SANDBOX"):
        if why_not:
            raise failures.Failed(
                f"FETTLE_SANDBOX is {known.sandbox}, which does not work on this machine: {why_not}; without "
                "FETTLE_SANDBOX the script is confined where that works"
            )
        return Walls(known.sandbox, f"sandbox {known.sandbox}, as FETTLE_SANDBOX says")
    if not why_not:
        return Walls(known.sandbox, f"sandbox {known.sandbox}")
    return Walls("none", f"sandbox none: {_short(why_not)}; the agent only plays a script")


async def for_a_model(known: settings.Settings) -> Walls:
    """For an agent whose acts nobody has seen.

    Raises:
        failures.Failed: what is set does not hold here, and nobody has said that it may run without.
    """
    if why_not := await _why_not(known):
        raise failures.Failed(
            f"the agent is to run in the sandbox `{known.sandbox}`, which does not work on this machine: {why_not}; "
            "FETTLE_SANDBOX=none runs it with all your rights"
        )
    return Walls(known.sandbox, f"sandbox {known.sandbox}")


async def _why_not(known: settings.Settings) -> str:
    with tempfile.TemporaryDirectory(prefix="fettle-walls-") as folder:
        tries = confinement.config(known.model_copy(update={"host_state_dir": Path(folder)}))
        return (await levels.tried(tries, known.sandbox)).why_not


def variables(known: settings.Settings, walls: Walls) -> dict[str, str]:
    """The settings of the sandbox for an installation of the command's own."""
    given = {name: str(getattr(known, name)) for name in type(known).model_fields if name.startswith("sandbox_")}
    return {f"FETTLE_{name.upper()}": value for name, value in given.items()} | {"FETTLE_SANDBOX": walls.level}


def _short(sentence: str) -> str:
    """The first statement of a longer explanation."""
    return sentence.split(": ", 1)[0].split(";", 1)[0]
