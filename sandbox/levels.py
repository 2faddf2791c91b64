"""The levels by name, and the one that a host is set to: opened, tried, and refused when it does not hold."""

import asyncio
import dataclasses
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from domain import errors
from sandbox import bubblewrap, container, limits, process, trees, unconfined, user_account
from sandbox import spec as spec_
from sandbox.spec import Level, Wall

Name = Literal["bubblewrap", "user", "container", "none"]
NAMES: Final[tuple[Name, ...]] = ("bubblewrap", "user", "container", "none")
_PROBE_SECONDS: Final = 30.0
_UNTRIED: Final = frozenset({Wall.OTHER_RUNS, Wall.PROCESSES, Wall.MEMORY, Wall.FILES, Wall.SURVIVORS})
"""Walls that a quick try cannot tell about; the tests attack them."""


@dataclass(frozen=True)
class Config:
    """How an operator has set the sandbox.

    Args:
        state: The host's state directory: the probe works there, where runs will.
        host: The worker's environment; the PATH, and what a container engine's client needs.
        read_only: Trees shown to every program.
        user: Account or range for the level `user`.
        image: Default image for the level `container`.
        engine: `podman` or `docker`; empty: whichever is there.
    """

    state: Path
    host: Mapping[str, str] = field(repr=False)
    level: Name = "bubblewrap"
    read_only: tuple[Path, ...] = ()
    user: str = ""
    image: str = ""
    engine: str = ""


@dataclass(frozen=True)
class Refusing:
    """A level that does not hold on this host: it starts nothing."""

    name: str
    why_not: str
    own_network: bool = False
    walls: frozenset[Wall] = frozenset()

    def plan(self, spec: spec_.Spec) -> spec_.Launch:
        raise errors.AgentUnavailable(
            f"{spec.argv[0]} was not started, the sandbox `{self.name}` does not work on this host: {self.why_not}"
        )


@dataclass(frozen=True)
class Tried:
    """What a try on this host has shown. `level` refuses everything when `why_not` is not empty."""

    level: Level
    note: str = ""

    @property
    def why_not(self) -> str:
        return self.level.why_not


async def ready(config: Config) -> Level:
    """The level that the operator set, tried on this host, for a host that starts: what the one before it has left is
    ended. A level that does not hold refuses every start."""
    level = (await tried(config, config.level)).level
    if isinstance(level, container.Container) and not level.why_not:
        await asyncio.to_thread(level.remove_leftovers)
    return level


async def tried(config: Config, name: Name) -> Tried:
    """A level, tried on this host: a program behind it has attempted to get out."""
    level = await asyncio.to_thread(_OPEN[name], config)
    if level.why_not or name == "none":
        return Tried(level)
    why_not = await _try(level, config)
    if name == "bubblewrap" and why_not and isinstance(level, bubblewrap.Bubblewrap):
        older = dataclasses.replace(level, disable_userns=False)
        if not await _try(older, config):  # before 0.8 it has no such option; the filter of calls refuses them too
            level, why_not = older, ""
    if why_not:
        return Tried(Refusing(name, why_not))
    return Tried(level, _note(level))


def _note(level: Level) -> str:
    """What is good to know of a level that works."""
    if level.name not in {"bubblewrap", "user"}:
        return ""
    found = [bubblewrap.landlock_note()]
    if isinstance(level, user_account.UserAccount) and not level.own_memory:
        found.append("without /dev/shm (root may make no mounts here)")
    if not getattr(level, "counted", False):
        found.append("memory and processes watched and System V IPC refused, since no control group can be made here")
    return ", ".join(found)


async def _try(level: Level, config: Config) -> str:
    """Why the level does not hold; empty when it does."""
    word = secrets.token_hex(16)
    with _outside(config.state, word) as (places, facts):
        # Somebody of the worker's account whose environment holds a secret, as the worker's own may.
        bystander = await asyncio.create_subprocess_exec("sleep", str(2 * _PROBE_SECONDS), env={"SECRET": word})
        try:
            return await _run(level, places, facts, config)
        finally:
            with suppress(ProcessLookupError):
                bystander.kill()
            await bystander.wait()


@contextmanager
def _outside(state: Path, word: str) -> Iterator[tuple[spec_.Places, dict[str, object]]]:
    """What the trial program reaches for, and the places that it may use."""
    state.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-probe-", dir=state) as folder,
        tempfile.TemporaryDirectory(prefix="fettle-") as short,  # the address of a socket holds about 100 characters
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        root = Path(folder)
        root.chmod(0o711)
        places = spec_.Places(home=root / "home", tmp=root / "tmp", work=root / "work")
        for each in (places.home, places.tmp, places.work, root / "beside"):
            each.mkdir(mode=0o700)
        (root / "secret").write_text(word)
        unix.bind(f"{short}/s")
        unix.listen()
        facts: dict[str, object] = {"word": word, "secret": str(root / "secret"), "beside": str(root / "beside")}
        yield places, {**facts, "port": tcp.getsockname()[1], "socket": f"{short}/s"}


async def _run(level: Level, places: spec_.Places, facts: dict[str, object], config: Config) -> str:
    python = getattr(level, "python", Path("python3"))
    argv = (str(python), "-I", "-S", str(trees.OWN / "attempt.py"), json.dumps(facts))
    env = {"PATH": config.host.get("PATH", os.defpath), "HOME": str(places.home), "TMPDIR": str(places.tmp)}
    spec = spec_.Spec(
        argv=argv, env=env, cwd=places.work, level=level, places=places, rlimits=limits.ProcessLimits(tmp_mebibytes=16)
    )
    try:
        done = await process.capture(spec, seconds=_PROBE_SECONDS)
    except errors.AgentUnavailable as refused:
        return str(refused)
    said = done.stderr.decode("utf-8", "replace")
    try:
        found: dict[str, bool] = json.loads(done.stdout)
    except ValueError:
        if level.name == "bubblewrap":
            return bubblewrap.explanation(said, bubblewrap.switches())
        how = "took too long" if done.timed_out else f"ended with {done.status.exit_code}"
        return f"a trial program {how}: {said.strip()[-400:] or 'it said nothing'}"
    if not found.get("works"):
        return "a trial program could not write in its own directories"
    open_walls = sorted(wall.value for wall in level.walls - _UNTRIED if found.get(wall.name, True))
    if open_walls:
        return f"a trial program got through: {'; '.join(open_walls)}"
    return ""


def _bubblewrap(config: Config) -> Level:
    return bubblewrap.Bubblewrap.on(config.host.get("PATH", ""), config.read_only)


def _user(config: Config) -> Level:
    return user_account.UserAccount.on(config.user, config.state / "accounts", config.read_only)


def _container(config: Config) -> Level:
    return container.Container.on(config.image, config.engine, config.host, config.state, config.read_only)


def _none(config: Config) -> Level:
    return unconfined.Unconfined()


_OPEN: Final[Mapping[Name, Callable[[Config], Level]]] = {
    "bubblewrap": _bubblewrap,
    "user": _user,
    "container": _container,
    "none": _none,
}
