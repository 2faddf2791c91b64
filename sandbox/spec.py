"""What is to be run, behind which walls, and how a level says it to the launcher."""

import base64
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sandbox import limits

FIRST_PAYLOAD = 200
"""File descriptor of the first payload in the started program; above what a program or bubblewrap takes itself."""

WAY_OUT = "/run/fettle/way-out"
"""The proxy's socket inside a file system of the sandbox's own: an address of a socket holds about 100 characters."""


class Wall(enum.StrEnum):
    """One thing that a level may claim to stop. The tests attack every wall of every level; what a level does not
    claim, an operator is told."""

    WRITES = "writing outside of the worktree, home and temporary files of the run"
    READS = "reading the host's files"
    OTHER_RUNS = "reading and changing other runs"
    WORKER_SECRETS = "reading the worker's environment and memory"
    NAMESPACES = "new user namespaces and mounts"
    KERNEL = "system calls that no build needs, io_uring and ptrace among them"
    HOST_SOCKETS = "Unix sockets of the host"
    NETWORK = "every network but the proxy"
    PROCESSES = "fork bombs"
    MEMORY = "memory bombs"
    """Of processes, of files that they hold open, of the kernel's buffers for them, and System V's."""
    FILES = "files without end"
    """With a name, or held open or mapped without one."""
    SURVIVORS = "processes that outlive the run"


@dataclass(frozen=True)
class Places:
    """The directories that a confined program may use, by their own paths, beside the system's."""

    home: Path
    tmp: Path
    """Emptied by levels that have a file system of their own for it."""
    work: Path
    """The one worktree."""
    readable: tuple[Path, ...] = ()
    """Files and directories for this program alone, such as the objects its repository borrows."""


class Level(Protocol):
    """One way to confine. Implementations are immutable; a new one is a module and a line in `levels`."""

    @property
    def name(self) -> str: ...

    @property
    def walls(self) -> frozenset[Wall]:
        """What it stops on this host."""
        ...

    @property
    def own_network(self) -> bool:
        """A program has a network of its own, whose only way out is `Spec.network`. Otherwise it has the host's."""
        ...

    @property
    def why_not(self) -> str:
        """Why nothing may be started with it on this host, as a sentence; empty when it works."""
        ...

    def plan(self, spec: "Spec") -> "Launch":
        """How the launcher starts `spec`.

        Raises:
            AgentUnavailable: the level does not work here, or the program is not on this host.
        """
        ...


@dataclass(frozen=True)
class Spec:
    """What to start. `argv[0]` is searched in the PATH of `env`, which is the whole environment.

    Without a level nothing but the environment and the limits confines it: `activities.rooms.Confinement` gives every
    agent's process the host's level.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    stdin: bytes = b""
    stderr: Path | None = None
    """File that the process's error output is appended to; None throws it away."""
    rlimits: limits.ProcessLimits = field(default_factory=limits.ProcessLimits)
    grace_seconds: float = 5.0
    """Between TERM and KILL when the worker dies."""
    level: Level | None = None
    places: Places | None = None
    """None: `cwd` is the only one. A level needs it."""
    network: Path | None = None
    """Unix socket of the proxy, for a level with a network of its own. None: no way out."""
    image: str = ""
    """For the level `container`; empty: the host's default."""


@dataclass(frozen=True)
class Account:
    """Who a program runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Launch:
    """One start, in the launcher's words."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    payloads: tuple[bytes, ...] = ()
    """Contents of descriptors from FIRST_PAYLOAD on: what must not stand in argv, where every user can read it."""
    monitor: bool = False
    """The program's death ends at once what runs inside; asked to end is its only child's group."""
    account: Account | None = None
    own: tuple[Path, ...] = ()
    """Trees that are given to `account` first."""
    own_network: bool = False
    shared_memory: int = 0
    """Bytes of a /dev/shm of its own; 0: the host's."""
    seccomp: bytes = b""
    """Filter that the launcher puts over the program."""
    watched: tuple[Path, ...] = ()
    """Directories whose growth is limited."""
    counted: bool = False
    """The level relies on a control group around the program: without one, nothing is started."""
    lowered: bool = True
    """The limits are put on what is started here. False: `argv` carries them to where the program is."""
    out_of_memory: tuple[str, ...] = ()
    """Run when the program has ended: it says `true` when the program, or a process of it, was ended for its memory."""
    after: tuple[str, ...] = ()
    """Run when the program has ended, whatever became of the worker."""


def plain(spec: Spec) -> Launch:
    """The start of a program that nothing but its limits confines."""
    watched = (spec.places.home, spec.places.tmp, spec.places.work) if spec.places else ()
    return Launch(argv=spec.argv, env=spec.env, cwd=spec.cwd, watched=watched)


def caged(
    python: Path,
    cage: Path,
    argv: tuple[str, ...],
    *,
    read: list[str],
    write: list[str],
    unix_sockets: bool = True,
    filtered: bool = False,
) -> tuple[str, ...]:
    """`argv` as the last step inside a sandbox starts it, with Landlock where the kernel has it.

    Args:
        python: Runs `cage`.
        cage: Where the step's own file is, inside.
        argv: The program.
        read: What it may read.
        write: What it may write.
        unix_sockets: False refuses to make any.
        filtered: Put the filter of system calls over it as well: nobody outside has. Nor may anybody be counting what
            System V keeps.
    """
    rules = [part for path in read for part in ("r", path)] + [part for path in write for part in ("w", path)]
    rules += [] if unix_sockets else ["u", "-"]
    rules += ["s", "-"] if filtered else []
    return (str(python), "-I", "-S", str(cage), *rules, "--", *argv)


def message(launch: Launch, spec: Spec) -> bytes:
    """The launcher's first line."""
    facts: dict[str, Any] = {
        "argv": list(launch.argv),
        "env": dict(launch.env),
        "cwd": str(launch.cwd),
        "limits": spec.rlimits.as_rlimits() if launch.lowered else {},
        "memory": spec.rlimits.memory_mebibytes * limits.MEBIBYTE,
        "processes": spec.rlimits.processes,
        "disk": spec.rlimits.disk_mebibytes * limits.MEBIBYTE,
        "niceness": spec.rlimits.niceness,
        "watched": [str(path) for path in launch.watched],
        "payloads": [base64.b64encode(each).decode() for each in launch.payloads],
        "first_payload": FIRST_PAYLOAD,
        "monitor": launch.monitor,
        "account": [launch.account.uid, launch.account.gid] if launch.account else None,
        "own": [str(path) for path in launch.own],
        "own_network": launch.own_network,
        "shared_memory": launch.shared_memory,
        "seccomp": base64.b64encode(launch.seccomp).decode(),
        "counted": launch.counted,
        "out_of_memory": list(launch.out_of_memory),
        "after": list(launch.after),
        "grace": spec.grace_seconds,
    }
    return json.dumps(facts).encode() + b"\n"
