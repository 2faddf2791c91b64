"""Checks of this machine: interpreter, programs, folders, agents."""

import asyncio
import dataclasses
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from cli.checkup import Check, Probe, fail, ok, warn
from integrations.agent import registry
from sandbox import levels
from sandbox import spec as sandbox_spec
from workers import agents, confinement, embedded, settings

_PYTHON: Final = (3, 11)
_GIT: Final = (2, 38)
"""The first git whose `merge-tree` writes a tree, which candidates are built with."""
_FREE_FAIL: Final = 500 * 2**20
_FREE_WARN: Final = 5 * 2**30
_PROGRAM_SECONDS: Final = 10.0


async def _python(config: settings.Settings) -> list[Check]:
    found = platform.python_version()
    if sys.version_info < _PYTHON:
        return [fail("python", f"{found}, at least 3.11 is needed", "install a newer Python and make .venv again")]
    return [ok("python", found)]


async def _git(config: settings.Settings) -> list[Check]:
    needed = ".".join(map(str, _GIT))
    path = shutil.which("git")
    if path is None:
        return [fail("git", "not on the PATH", f"install git {needed} or newer")]
    said = await _output(path, "--version")
    match = re.search(r"(\d+)\.(\d+)", said)
    if not match or (int(match[1]), int(match[2])) < _GIT:
        return [fail("git", f"{said or 'no version'} at {path}, at least {needed} is needed", "install a newer git")]
    return [ok("git", f"{said.removeprefix('git version ')} at {path}")]


async def _temporal_cli(config: settings.Settings) -> list[Check]:
    try:
        path = embedded.binary()
    except embedded.NotInstalled as missing:
        return [warn("temporal program", str(missing), "needed for fettle up without a cluster only")]
    return [ok("temporal program", f"{await _output(str(path), '--version')} at {path}")]


async def _state(config: settings.Settings) -> list[Check]:
    checks = []
    for name, folder in (("state directory", config.state_dir), ("artifacts", config.artifacts_dir)):
        place = _nearest(folder)
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as refused:
            advice = f"make it writable for user {os.getuid()}, or set another folder in fettle.toml"
            checks.append(fail(name, f"{folder} cannot be written: {refused.strerror}", advice))
            continue
        made = "" if folder.is_dir() else " (not made yet)"
        checks.append(ok(name, f"{folder}{made}"))
    return checks


async def _disk(config: settings.Settings) -> list[Check]:
    place = _nearest(config.state_dir)
    place = place if place.is_dir() else place.parent
    free = shutil.disk_usage(place).free
    said = f"{free / 2**30:.1f} GiB free at {place}"
    advice = "free some space: mirrors, worktrees and transcripts live there"
    if free < _FREE_FAIL:
        return [fail("disk", said, advice)]
    return [warn("disk", said, advice)] if free < _FREE_WARN else [ok("disk", said)]


async def _agents(config: settings.Settings) -> list[Check]:
    """Agents run where `fettle worker agents` runs; on another machine only the default one is worth a warning."""
    checks = []
    for backend in registry.backends(agents.backend_settings(config)).values():
        found = await asyncio.to_thread(backend.discover, os.environ)
        name = f"agent {backend.name}"
        if found.ready:
            checks.append(ok(name, f"{found.shown} at {found.path}"))
        elif backend.name == config.default_agent:
            advice = "install it and log in on every agent host, or set default_agent to another one"
            checks.append(warn(name, f"the default, not ready here: {found.why_not}", advice))
        else:
            checks.append(ok(name, f"not ready here, and not the default: {found.why_not}"))
    return checks


async def _sandbox(config: settings.Settings) -> list[Check]:
    """A row a level; each is tried here, in a directory that is gone afterwards where the host's own is not made."""
    with tempfile.TemporaryDirectory(prefix="fettle-doctor-") as folder:
        os.chmod(folder, 0o711)  # an account of its own has to get in
        state = config.host_state_dir if config.host_state_dir.is_dir() else Path(folder)
        tries = dataclasses.replace(confinement.config(config), state=state)
        found = [await levels.tried(tries, name) for name in levels.NAMES]
    return [_level(config, name, tried) for name, tried in zip(levels.NAMES, found, strict=True)]


def _level(config: settings.Settings, name: levels.Name, tried: levels.Tried) -> Check:
    """Only the level that is set can be wrong, and only where agents have run is that a failure."""
    row = f"sandbox {name}"
    if name != config.sandbox:
        said = "confines nothing" if name == "none" else tried.why_not or _works(tried)
        return ok(row, f"not set; {said}")
    if tried.why_not:
        wrong = fail if (config.host_state_dir / "host-id").exists() else warn
        advice = "correct that, or set FETTLE_SANDBOX to a level that works; until then this host starts no agent"
        return wrong(row, f"is set, and does not work here: {tried.why_not}", advice)
    if name == "none":
        advice = (
            "FETTLE_SANDBOX=bubblewrap confines them; none is for agents of your own, or a host made for this alone"
        )
        return warn(row, "is set: agents have every right of this account", advice)
    missing = [wall.value for wall in sandbox_spec.Wall if wall not in tried.level.walls]
    if missing:
        return warn(row, f"is set; {_works(tried)}; it does not stop {'; '.join(missing)}", "see whether another works")
    if name == "bubblewrap" and os.geteuid() == 0:
        advice = "run the agent host as a user of its own: what got out of the sandbox would be root"
        return warn(row, f"is set; {_works(tried)}; this is root", advice)
    return ok(row, f"is set; {_works(tried)}")


def _works(tried: levels.Tried) -> str:
    return f"works{f', {tried.note}' if tried.note else ''}"


async def _output(*argv: str) -> str:
    """First line that the program prints; empty when it fails or hangs."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_PROGRAM_SECONDS):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return (out.decode("utf-8", "replace").splitlines() or [""])[0].strip()


def _nearest(folder: Path) -> Path:
    """The folder itself, or the place that it would be made in; that place may turn out to be a file."""
    return next((p for p in (folder, *folder.parents) if os.path.lexists(p)), Path("/"))


PROBES: Final[tuple[tuple[str, Probe], ...]] = (
    ("python", _python),
    ("git", _git),
    ("temporal program", _temporal_cli),
    ("state directory", _state),
    ("disk", _disk),
    ("sandbox", _sandbox),
    ("agents", _agents),
)
