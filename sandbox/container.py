"""Level `container`: one container a process, for operators with an engine and an image that has their tool chains.

The engine's client is what the launcher starts; the container is removed by name when it has ended, whatever became of
the client. The image needs the agent's CLI, and a `python3` when the program has a way out through the proxy.
"""

import os
import secrets
import shutil
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Container:
    """Confines by an engine.

    Args:
        program: The engine's client.
        image: What runs when a spec names no image of its own.
        client: The client's environment.
        read_only: Host directories that the operator shows to every program.
    """

    program: str = ""
    image: str = ""
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    read_only: tuple[Path, ...] = ()
    name: str = "container"
    why_not: str = ""
    own_network: bool = True
    walls: frozenset[Wall] = frozenset(Wall)

    @classmethod
    def on(cls, image: str, engine: str, host: Mapping[str, str], read_only: tuple[Path, ...] = ()) -> "Container":
        """The level as this host can have it; whether it works is the probe's to find out."""
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
        return cls(found, image, client, read_only)

    def plan(self, spec: spec_.Spec) -> spec_.Launch:
        if self.why_not:
            raise errors.AgentUnavailable(f"{spec.argv[0]} was not started, the sandbox does not work: {self.why_not}")
        places = spec.places or spec_.Places(home=spec.cwd, tmp=Path("/tmp"), work=spec.cwd)
        name = f"fettle-{secrets.token_hex(8)}"
        argv = spec.argv
        if spec.network is not None:
            way_out = ("python3", "-I", "-S", str(trees.OWN / "bridge.py"), spec_.WAY_OUT, str(bridge.PORT), "--")
            argv = (*way_out, *argv)
        return spec_.Launch(
            argv=(
                *(self.program, "run", "--rm", "--interactive", "--init", "--name", name, *_walls(spec.rlimits)),
                *("--user", f"{os.getuid()}:{os.getgid()}", "--workdir", str(spec.cwd)),
                *self._mounts(spec, places),
                *self._environment(spec.env),
                *(spec.image or self.image, *argv),
            ),
            env={**spec.env, **self.client},
            cwd=Path("/"),
            watched=(places.home, places.work),
            after=(self.program, "rm", "--force", name),
        )

    def _mounts(self, spec: spec_.Spec, places: spec_.Places) -> list[str]:
        shown = [path for path in (trees.OWN, *self.read_only, *places.readable) if path.exists()]
        found = [f"type=bind,source={path},target={path},readonly" for path in shown]
        found += [f"type=bind,source={path},target={path}" for path in (places.home, places.work)]
        if spec.network is not None:
            found.append(f"type=bind,source={spec.network},target={spec_.WAY_OUT}")
        size = spec.rlimits.tmp_mebibytes
        temporary = [f"{path}:rw,nosuid,nodev,size={size}m,mode=1777" for path in {"/tmp", str(places.tmp)}]
        return [
            *(part for each in found for part in ("--mount", each)),
            *(part for each in sorted(temporary) for part in ("--tmpfs", each)),
        ]

    def _environment(self, env: Mapping[str, str]) -> list[str]:
        """By name, so that no value stands in argv; what the client itself is run with is given by its value, and is
        no secret."""
        found = []
        for name, value in env.items():
            if name != "PATH":  # the image has its own
                found += ["--env", f"{name}={value}" if name in self.client else name]
        return found


def _walls(rlimits: limits.ProcessLimits) -> list[str]:
    found = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    if rlimits.processes:
        found += ["--pids-limit", str(rlimits.processes)]
    if rlimits.memory_mebibytes:
        found += ["--memory", f"{rlimits.memory_mebibytes}m", "--memory-swap", f"{rlimits.memory_mebibytes}m"]
    size = rlimits.file_mebibytes * limits.MEBIBYTE
    return [*found, "--ulimit", "core=0:0", "--ulimit", f"fsize={size}:{size}"]
