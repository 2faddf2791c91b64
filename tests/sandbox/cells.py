"""Programs behind each level, as root and as an ordinary user, and what they are to attack."""

import asyncio
import base64
import dataclasses
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox import bubblewrap, container, landlock, limits, process, trees, unconfined, user_account
from sandbox import spec as spec_
from sandbox.spec import Wall
from tests.sandbox import engine


def _unused(first: int, count: int) -> int:
    """The first of some uids that are nobody's, and that no other process of these tests has: the kernel counts all
    processes of a uid together, so a fork bomb of one would keep the others' programs from starting."""
    known = {entry.pw_uid for entry in pwd.getpwall()}
    start = first + os.getpid() % 900 * count
    return next(uid for uid in range(start, 65000, count) if known.isdisjoint(range(uid, uid + count)))


NOBODY = 65534
"""An ordinary user with an entry in /etc/passwd, which an engine's client needs."""
ORDINARY = _unused(40000, 1)
FIRST_ACCOUNT = _unused(50000, 10)
ACCOUNTS = f"{FIRST_ACCOUNT}-{FIRST_ACCOUNT + 9}"
SYSTEM_PYTHON = Path("/usr/bin/python3")
LAUNCHER = Path(process.__file__).with_name("launcher.py")
SMALL = limits.ProcessLimits(
    processes=60, memory_mebibytes=256, file_mebibytes=4, disk_mebibytes=32, tmp_mebibytes=8, niceness=0
)
"""Small enough that a test reaches them soon, large enough for an interpreter."""

TRY = """
import json, os, sys
def attempt(call):
    try:
        call()
    except OSError as error:
        return error.strerror
    return "DONE"
"""
"""What attacks begin with: an error's words, or that it was done."""

CELLS = [("bubblewrap", "root"), ("bubblewrap", "user"), ("user", "root"), ("none", "root"), ("none", "user")]
"""Level, and who the worker is. The level `user` needs a worker that is root."""
CONTAINERS = [("container", "root"), ("container", "user")]
"""As above, with a real engine: `make test-slow` has them, and they are skipped where none starts a container."""


@dataclass(frozen=True)
class Done:
    """How an attack ended."""

    status: process.Status
    stdout: str
    stderr: str
    timed_out: bool = False

    @property
    def json(self) -> Any:
        assert self.stdout.strip(), f"it said nothing: {self.status} {self.stderr}"
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Cell:
    """One run on a host: its directories, and the level around its programs."""

    level: spec_.Level
    root: Path
    worker: int
    """Uid of the worker."""
    places: spec_.Places
    python: Path
    marker: str = field(default_factory=lambda: f"cell-{uuid.uuid4().hex}")
    """In the arguments of every program of the cell, so that a survivor is found."""

    def spec(self, argv: tuple[str, ...], **more: Any) -> process.Spec:
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.places.home),
            "TMPDIR": str(self.places.tmp),
            "LANG": "C.UTF-8",
        }
        given: dict[str, Any] = {"rlimits": SMALL, "grace_seconds": 0.5, **more}
        given["env"] = {**env, **given.pop("env", {})}
        return process.Spec(argv, cwd=self.places.work, level=self.level, places=self.places, **given)

    def script(self, code: str, *arguments: object, **more: Any) -> process.Spec:
        argv = (str(self.python), "-I", "-S", "-c", code, self.marker, *map(str, arguments))
        return self.spec(argv, **more)

    async def run(self, code: str, *arguments: object, seconds: float = 25, **more: Any) -> Done:
        """Run Python code behind the level, `sys.argv[2:]` being the arguments."""
        return await self.execute(self.script(code, *arguments, **more), seconds)

    async def stopped_at(self, file: Path, code: str, *arguments: object, **more: Any) -> Done:
        """Run Python code as `run` does, and stop it when it has made a file; its output is not kept."""
        spec = self.script(code, *arguments, **more)
        if self.worker != os.geteuid():
            return execute_as(self.worker, spec, 25, file)
        started = await process.ConfinedProcess.start(spec)
        try:
            async with asyncio.timeout(25):
                while not file.exists():  # noqa: ASYNC110 - another process makes it, and tells nobody
                    await asyncio.sleep(0.02)
        finally:
            status = await started.close(spec.grace_seconds)
        return Done(status, "", "", timed_out=True)

    async def execute(self, spec: process.Spec, seconds: float = 25) -> Done:
        if self.worker == os.geteuid():
            done = await process.capture(spec, seconds=seconds)
            return Done(done.status, done.stdout.decode(), done.stderr.decode(), done.timed_out)
        return execute_as(self.worker, spec, seconds)

    def survivors(self) -> list[int]:
        """Every living process whose arguments hold the marker, wherever it went."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    if self.marker in Path("/proc", name, "cmdline").read_text(errors="replace"):
                        found.append(int(name))
                except OSError:
                    continue
        return found


def execute_as(uid: int, spec: process.Spec, seconds: float, until: Path | None = None) -> Done:
    """What `process.capture` does, by a worker that is another user: its launcher is started as that user. With `until`
    its time is up when that file is there, and `seconds` are what that may take."""
    level = spec.level
    assert level is not None
    launch = level.plan(spec)
    status, told = os.pipe()
    heard, control = os.pipe()
    running = subprocess.Popen(
        [SYSTEM_PYTHON, "-I", "-S", LAUNCHER, str(heard), str(told)],
        user=uid,
        group=uid,
        extra_groups=[],
        pass_fds=(heard, told),
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(told)
    os.close(heard)
    timed_out = False
    with open(control, "wb", buffering=0) as commands, open(status, "rb") as facts:
        commands.write(spec_.message(launch, spec))
        try:
            out, err = running.communicate(timeout=seconds) if until is None else _made(until, running, seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
            commands.write(f"stop {spec.grace_seconds}\n".encode())
            out, err = running.communicate(timeout=30)
        last = json.loads(facts.read().splitlines()[-1])
    assert "error" not in last, last
    return Done(process.Status.model_validate(last), out.decode(), err.decode(), timed_out)


def _made(file: Path, running: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, bytes]:
    """Wait for a file as `communicate` waits for the end: raises what it raises when it is there, or not in time."""
    latest = time.monotonic() + seconds
    while not file.exists() and running.poll() is None and time.monotonic() < latest:
        time.sleep(0.02)
    assert file.exists(), f"{file.name} was not made"
    return running.communicate(timeout=0)


@contextmanager
def cell(level: str, worker: str, state: Path | None = None) -> Iterator[Cell]:
    """A run's directories with a level around them; what this machine cannot do is skipped, loudly."""
    uid = {"root": 0, "user": NOBODY if level == "container" else ORDINARY}[worker]
    if os.geteuid() != 0:
        if worker == "root":
            pytest.skip("these tests do not run as root, so no worker can be root")
        uid = os.geteuid()
    python = SYSTEM_PYTHON if uid != os.geteuid() or level in {"user", "container"} else Path(sys.executable).resolve()
    if not python.exists() or (uid not in {0, os.geteuid()} and not trees.reachable(LAUNCHER, uid, uid, end=0o4)):
        pytest.skip(f"user {uid} cannot use {python} and {LAUNCHER}")
    with tempfile.TemporaryDirectory(prefix="fettle-cell-") as folder:
        root = state or Path(folder)
        root.chmod(0o711)
        run = Path(tempfile.mkdtemp(dir=root))
        places = spec_.Places(run / "home", run / "tmp", run / "work")
        for each in (run, places.home, places.tmp, places.work):
            each.mkdir(exist_ok=True, mode=0o700)
            if uid != os.geteuid():
                os.chown(each, uid, uid)
        yield Cell(_level(level, root, python, uid), root, uid, places, python)


def params(*, walled: bool) -> list[Any]:
    """What a fixture is parametrized with."""
    found = [pytest.param(each, id="-as-".join(each)) for each in CELLS if not walled or each[0] != "none"]
    return found + [pytest.param(each, id="-as-".join(each), marks=pytest.mark.slow) for each in CONTAINERS]


def _level(name: str, root: Path, python: Path, uid: int) -> spec_.Level:
    if name == "none":
        return unconfined.Unconfined()
    if name == "user":
        made = user_account.UserAccount.on(ACCOUNTS, root / "accounts")
        if made.why_not:
            pytest.skip(made.why_not)
        return made
    if name == "container":
        return _container(uid, root)
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed on this machine: its walls are not tested")
    level = bubblewrap.Bubblewrap.on("/usr/bin:/bin")
    return dataclasses.replace(level, python=python, counted=uid == os.geteuid() and level.counted)


def _container(uid: int, state: Path) -> spec_.Level:
    try:
        image = engine.image(uid)
    except LookupError as none:
        pytest.skip(f"NO CONTAINER was started, so the level `container` is NOT TESTED for user {uid}: {none}")
    made = container.Container.on(image, engine.client(), engine.environment(uid), state)
    return dataclasses.replace(made, uid=uid, gid=uid)


def claims(here: Cell, wall: Wall) -> None:
    """Skip when the level does not claim to stop this: then the operator is told so."""
    if wall not in here.level.walls:
        pytest.skip(f"the level {here.level.name} does not claim to stop {wall.value} here")


@contextmanager
def bystander(**environment: str) -> Iterator[int]:
    """A process of the worker's account with secrets in its environment, as the worker has them."""
    running = subprocess.Popen(["sleep", "60"], env=environment)
    try:
        yield running.pid
    finally:
        running.kill()
        running.wait()


def encoded(value: Mapping[str, Any]) -> str:
    """For a program's arguments, so that what it looks for is not found in them."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def landlocked() -> bool:
    return landlock.version() >= landlock.LEAST_VERSION
