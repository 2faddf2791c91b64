"""Level `user`: an account that owns nothing else, for hosts where no namespaces can be made and the worker is root.

Each run gets an account of its own from a range, so that runs cannot touch each other's files or processes; with one
named account they share it. Landlock holds the account to its directories where the kernel has it, a network namespace
cuts it off, and its shared memory is its own, where root may make such a namespace.
"""

import dataclasses
import fcntl
import os
import pwd
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from domain import errors
from sandbox import bridge, cgroups, environment, landlock, limits, seccomp, trees
from sandbox import spec as spec_
from sandbox.spec import Wall

_RANGE: Final = re.compile(r"(\d{3,9})-(\d{3,9})")
_LEAST_UID: Final = 1000
"""Below are the system's own accounts."""
_SEPARATE_NETWORK: Final = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x40000000) != 0)"
"""CLONE_NEWNET"""
_SEPARATE_MEMORY: Final = (
    f"import sys; sys.path.append({str(trees.OWN.parent)!r}); from sandbox import birth; "
    "birth.separate_shared_memory(1 << 20)"
)
_ALWAYS: Final = frozenset(
    {Wall.WORKER_SECRETS, Wall.NAMESPACES, Wall.KERNEL, Wall.PROCESSES, Wall.MEMORY, Wall.FILES}
) | {Wall.SURVIVORS, Wall.HOST_SOCKETS}


@dataclass(frozen=True)
class UserAccount:
    """Confines by an account.

    Args:
        accounts: Uid and gid of each; more than one are given to runs one by one.
        register: Directory that remembers which run has which account.
        read_only: Trees that the operator shows to every program beside the system's.
        counted: A control group can be made around a program, and counts what no process holds.
    """

    accounts: tuple[spec_.Account, ...] = ()
    register: Path = Path("/nonexistent")
    read_only: tuple[Path, ...] = ()
    python: Path = Path("/usr/bin/python3")
    own_network: bool = False
    counted: bool = False
    own_memory: bool = False
    """A /dev/shm of its own; without, a program has none."""
    name: str = "user"
    why_not: str = ""
    walls: frozenset[Wall] = field(default=_ALWAYS)

    @classmethod
    def on(cls, wanted: str, register: Path, read_only: tuple[Path, ...] = ()) -> "UserAccount":
        """The level as this host can have it; whether it works is the probe's to find out.

        Args:
            wanted: The name of an account, or a range of uids such as `61000-61063`.
            register: As the field.
            read_only: As the field.
        """
        try:
            accounts = _accounts(wanted)
            python = trees.interpreter((accounts[0].uid, accounts[0].gid))
        except LookupError as wrong:
            return cls(why_not=str(wrong))
        if os.geteuid() != 0:
            return cls(
                why_not=f"only root can change to another account, this worker is user {os.geteuid()}: run the agent "
                "host as root, or set FETTLE_SANDBOX=bubblewrap, which needs no privilege"
            )
        if not seccomp.supported():
            return cls(why_not="there is no filter of system calls for this machine's architecture")
        network, memory = _can(python, _SEPARATE_NETWORK), _can(python, _SEPARATE_MEMORY)
        walls = _ALWAYS | ({Wall.NETWORK} if network else set())
        # Permissions alone leave what everybody may read, and write: /tmp, and shared memory.
        walls |= {Wall.READS, Wall.WRITES} if landlock.version() >= landlock.LEAST_VERSION else set()
        # One account for all is held apart by Landlock alone, and only by one that keeps signals inside.
        walls |= {Wall.OTHER_RUNS} if len(accounts) > 1 or landlock.version() >= landlock.SIGNALS_VERSION else set()
        found = cls(accounts, register, read_only, python, walls=frozenset(walls), counted=cgroups.available())
        return dataclasses.replace(found, own_network=network, own_memory=memory)

    def plan(self, spec: spec_.Spec) -> spec_.Launch:
        if self.why_not:
            raise errors.AgentUnavailable(f"{spec.argv[0]} was not started, the sandbox does not work: {self.why_not}")
        places = spec.places or spec_.Places(home=spec.cwd, tmp=spec.cwd, work=spec.cwd)
        always = (*trees.of_interpreter(self.python), trees.OWN, *self.read_only, *places.readable)
        try:
            path = spec.env.get("PATH", environment.DEFAULT_PATH)
            name, needed = trees.of_program(spec.argv[0], path, always)
        except LookupError as missing:
            raise errors.AgentUnavailable(
                f"{spec.argv[0]} was to be started in {spec.cwd}: {missing}; install it on this host"
            ) from missing
        account = self._account_of(places.home)
        self._open_the_way(places, spec.network if self.own_network else None, account)
        shown = [*always, *needed]
        read = [*map(str, trees.SYSTEM), *map(str, trees.CONFIGURATION), "/etc/passwd", "/etc/group", "/etc/hosts"]
        read += ["/proc", "/sys/devices/system/cpu", *map(str, trees.outermost(shown))]
        own = trees.outermost((places.home, places.tmp, places.work))
        write = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]
        write += ["/dev/ptmx", "/dev/pts", *(["/dev/shm"] if self.own_memory else []), *map(str, own)]
        own_argv = (name, *spec.argv[1:])
        cage = trees.OWN / "cage.py"
        argv = spec_.caged(self.python, cage, own_argv, read=read, write=write, unix_sockets=False)
        if spec.network is not None and self.own_network:
            argv = (
                str(self.python),
                "-I",
                "-S",
                str(trees.OWN / "bridge.py"),
                str(spec.network),
                str(bridge.PORT),
                "--",
                *argv,
            )
        return spec_.Launch(
            argv=argv,
            env=spec.env,
            cwd=spec.cwd,
            account=account,
            own=(*own, *([spec.network] if spec.network is not None and self.own_network else [])),
            own_network=self.own_network,
            shared_memory=spec.rlimits.tmp_mebibytes * limits.MEBIBYTE if self.own_memory else 0,
            seccomp=seccomp.program(segment=self._segment),
            counted=self.counted,
            watched=tuple(own),
        )

    @property
    def _segment(self) -> int | None:
        """In the host's own namespace (there is one of its own with the network) a segment stays, whoever made it."""
        if not self.own_network:
            return 0
        return None if self.counted else seccomp.SMALL_SEGMENT

    def _open_the_way(self, places: spec_.Places, network: Path | None, account: spec_.Account) -> None:
        """Let the account pass, but not list, what leads to its directories, and close those to everybody else.

        Raises:
            AgentUnavailable: a directory above the host's own is closed to it.
        """
        state = self.register.parent
        for own in (places.home, places.tmp, places.work):
            own.chmod(0o700)
        for own in (places.home, places.tmp, places.work, *([network] if network else [])):
            for parent in own.parents:
                if state in parent.parents:
                    parent.chmod(parent.stat().st_mode | 0o001)
        if not trees.reachable(state, account.uid, account.gid, end=0o1):
            raise errors.AgentUnavailable(
                f"programs are to run as user {account.uid} below {state}, a directory on the way is closed to that "
                "account: open it with chmod o+x, or choose another FETTLE_HOST_STATE_DIR"
            )

    def _account_of(self, home: Path) -> spec_.Account:
        """The account of the run whose home this is: the same one as before, or a free one."""
        if len(self.accounts) == 1:
            return self.accounts[0]
        with self._locked():
            held = {account: self._holder(account) for account in self.accounts}
            found = next((account for account, holder in held.items() if holder == str(home)), None)
            found = found or next((a for a, holder in held.items() if not holder or not Path(holder).exists()), None)
            if found is None:
                raise errors.AgentUnavailable(
                    f"a run needs an account of its own, all {len(self.accounts)} are in use: "
                    "widen the range in FETTLE_SANDBOX_USER, or lower FETTLE_AGENT_SLOTS"
                )
            (self.register / str(found.uid)).write_text(str(home))
            return found

    def _holder(self, account: spec_.Account) -> str:
        with suppress(OSError):
            return (self.register / str(account.uid)).read_text()
        return ""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.register.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.register / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _accounts(wanted: str) -> tuple[spec_.Account, ...]:
    """Raises LookupError with a sentence when the setting names no usable account."""
    if match := _RANGE.fullmatch(wanted):
        first, last = int(match[1]), int(match[2])
        if not _LEAST_UID <= first <= last or last - first > 4096:
            raise LookupError(
                f"FETTLE_SANDBOX_USER is the range {wanted}: it must begin at {_LEAST_UID} or above, and may hold up "
                "to 4096 accounts"
            )
        return tuple(spec_.Account(uid, uid) for uid in range(first, last + 1))
    if not wanted:
        raise LookupError(
            "the level `user` has no account: set FETTLE_SANDBOX_USER to the name of one, or to a range of uids "
            "such as 61000-61063, which gives every run its own"
        )
    try:
        found = pwd.getpwnam(wanted)
    except KeyError:
        raise LookupError(
            f"FETTLE_SANDBOX_USER is {wanted}, this host has no account of that name: make it, or give a range of uids"
        ) from None
    if found.pw_uid in {0, os.geteuid()}:
        raise LookupError(
            f"FETTLE_SANDBOX_USER is {wanted}, which is the worker's own account or root: name another one"
        )
    return (spec_.Account(found.pw_uid, found.pw_gid),)


def _can(python: Path, code: str) -> bool:
    """Tried in a process of its own, since it cannot be undone."""
    try:
        done = subprocess.run([python, "-I", "-S", "-c", code], env={}, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
