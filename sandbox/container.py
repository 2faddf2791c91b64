"""Level `container`: one container a process, for operators with an engine and an image that has their tool chains.

The engine's client is what the launcher starts; the container is removed by name when it has ended, whatever became of
the client. The image needs the agent's CLI, and a `python3` of 3.10 or newer: inside, the same filter of system calls
and the same Landlock as everywhere are put over the program, since what engines refuse differs.
"""

import hashlib
import os
import resource
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from domain import errors
from sandbox import bridge, limits, trees
from sandbox import spec as spec_
from sandbox.spec import Wall

ENGINES: Final = ("podman", "docker")
_CLIENT: Final = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "CONTAINER_HOST",
    "HOME",
    "PATH",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
)
"""What a client needs of the worker's environment; the program in the container gets none of it."""
_OWNER: Final = "fettle.host"
_PYTHON: Final = Path("python3")
"""The image's."""
_TEMPORARY: Final = ("/tmp", "/var/tmp", "/run")


@dataclass(frozen=True)
class Container:
    """Confines by an engine.

    Args:
        program: The engine's client.
        image: What runs when a spec names no image of its own.
        client: The client's environment.
        read_only: Host directories that the operator shows to every program.
        uid: Of the worker, whose files the program works on.
        gid: As `uid`.
        owner: Tells this host's containers from others of the same engine.
    """

    program: str = ""
    image: str = ""
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    read_only: tuple[Path, ...] = ()
    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)
    owner: str = "nobody"
    name: str = "container"
    why_not: str = ""
    own_network: bool = True
    walls: frozenset[Wall] = frozenset(Wall)

    @classmethod
    def on(
        cls, image: str, engine: str, host: Mapping[str, str], state: Path, read_only: tuple[Path, ...] = ()
    ) -> "Container":
        """The level as this host can have it; whether it works is the probe's to find out.

        Args:
            image: As the field.
            engine: The client's name or path; empty: whichever is installed.
            host: The environment of the worker.
            state: The host's state directory, which no other host shares.
            read_only: As the field.
        """
        wanted = (engine,) if engine else ENGINES
        found = next((path for name in wanted if (path := shutil.which(name, path=host.get("PATH", os.defpath)))), None)
        if found is None:
            return cls(
                why_not=f"no container engine is in the PATH ({', '.join(wanted)}): install one, or set FETTLE_SANDBOX "
                "to another level"
            )
        if not image:
            return cls(
                why_not="the level `container` has no image: set FETTLE_SANDBOX_IMAGE to one with the agent's CLI "
                "and the repositories' tool chains"
            )
        client = {name: host[name] for name in _CLIENT if name in host}
        owner = hashlib.sha256(f"{os.uname().nodename} {state.absolute()}".encode()).hexdigest()[:16]
        walls = frozenset(Wall) if _is_local(found, client) else frozenset(Wall) - {Wall.FILES}
        return cls(found, image, client, read_only, owner=owner, walls=walls)

    def remove_leftovers(self) -> None:
        """Remove what a worker and its launcher have left that were killed together, as with a host's memory at its
        end. For a host that starts: it ends every program of this host."""
        mine = ("ps", "--all", "--quiet", "--filter", f"label={_OWNER}={self.owner}")
        found = self._asked(*mine).split()
        if found:
            self._asked("rm", "--force", *found)

    def _asked(self, *words: str) -> str:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                (self.program, *words), env=dict(self.client), capture_output=True, text=True, timeout=60, check=False
            )
            return done.stdout
        return ""

    def plan(self, spec: spec_.Spec) -> spec_.Launch:
        if self.why_not:
            raise errors.AgentUnavailable(f"{spec.argv[0]} was not started, the sandbox does not work: {self.why_not}")
        places = spec.places or spec_.Places(home=spec.cwd, tmp=Path("/tmp"), work=spec.cwd)
        name = f"fettle-{secrets.token_hex(8)}"
        entry, *argv = _inner(spec, places)
        return spec_.Launch(
            argv=(
                *(self.program, "run", "--interactive", "--init", "--name", name, "--hostname", "sandbox"),
                *("--label", f"{_OWNER}={self.owner}"),
                # Its log would hold all that the agent says; and what a container is given to end in, it had before.
                *("--log-driver", "none", "--stop-timeout", "0"),
                *_walls(spec.rlimits),
                *self._account(),
                *("--workdir", str(spec.cwd)),
                *self._mounts(spec, places),
                *self._environment(spec.env),
                *("--entrypoint", entry, spec.image or self.image, *argv),
            ),
            env={**spec.env, **self.client},
            cwd=Path("/"),
            lowered=False,
            watched=(places.home, places.work),
            out_of_memory=(self.program, "inspect", "--format", "{{.State.OOMKilled}}", name),
            after=(self.program, "rm", "--force", name),
        )

    def _account(self) -> tuple[str, ...]:
        """The worker's. A podman that is not root is told to leave it as it is: it gives containers other users."""
        own = ("--user", f"{self.uid}:{self.gid}")
        return (*own, "--userns", "keep-id") if self.uid != 0 and _is_local(self.program, self.client) else own

    def _mounts(self, spec: spec_.Spec, places: spec_.Places) -> list[str]:
        shown = [path for path in (trees.OWN, *self.read_only, *places.readable) if path.exists()]
        found = [f"type=bind,source={path},target={path},readonly" for path in shown]
        found += [f"type=bind,source={path},target={path}" for path in (places.home, places.work)]
        if spec.network is not None:
            found.append(f"type=bind,source={spec.network},target={spec_.WAY_OUT}")
        size = spec.rlimits.tmp_mebibytes
        # What an engine would make writable by itself has no size.
        own = sorted({*_TEMPORARY, str(places.tmp)})
        return [
            *(part for each in found for part in ("--mount", each)),
            *(part for path in own for part in ("--tmpfs", f"{path}:rw,nosuid,nodev,size={size}m,mode=1777")),
            *("--shm-size", f"{size}m"),
        ]

    def _environment(self, env: Mapping[str, str]) -> list[str]:
        """By name, so that no value stands in argv; what the client itself is run with is given by its value, and is
        no secret."""
        found = []
        for name, value in env.items():
            if name != "PATH":  # the image has its own
                found += ["--env", f"{name}={value}" if name in self.client else name]
        return found


def _is_local(program: str, client: Mapping[str, str]) -> bool:
    """Its containers hang below the client, as podman's do. Those of a service cannot be looked at: what they hold
    without a name is not counted, and their work is not seen."""
    return Path(program).name == "podman" and "CONTAINER_HOST" not in client


def _inner(spec: spec_.Spec, places: spec_.Places) -> tuple[str, ...]:
    write = ["/dev", "/proc", *_TEMPORARY, *map(str, (places.home, places.tmp, places.work))]
    caged = spec_.caged(_PYTHON, trees.OWN / "cage.py", spec.argv, read=["/"], write=write, filtered=True)
    if spec.network is None:
        return caged
    return (str(_PYTHON), "-I", "-S", str(trees.OWN / "bridge.py"), spec_.WAY_OUT, str(bridge.PORT), "--", *caged)


def _walls(rlimits: limits.ProcessLimits) -> list[str]:
    found = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    if rlimits.processes:
        found += ["--pids-limit", str(rlimits.processes)]
    if rlimits.memory_mebibytes:
        found += ["--memory", f"{rlimits.memory_mebibytes}m", "--memory-swap", f"{rlimits.memory_mebibytes}m"]
    for name, value in rlimits.as_rlimits().items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)  # an engine may not be able to raise it
        found += ["--ulimit", f"{name.removeprefix('RLIMIT_').lower()}={most}:{most}"]
    return found
