"""Level `bubblewrap`: namespaces of its own for every program, made without any privilege of ours.

Read-only is the system and what the program is made of; writable are its worktree and home; /tmp is its own and has a
size; there is no network but a socket to the proxy. bwrap is started with an empty environment and without arguments:
inside, /proc/1 is bwrap itself.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from domain import errors
from sandbox import bridge, cgroups, environment, landlock, limits, seccomp, trees
from sandbox import spec as spec_
from sandbox.spec import Wall

PROGRAM: Final = "bwrap"
_USER: Final = 1000
"""Who the program is inside: no root, whoever the worker is."""
_PASSWD: Final = (
    f"agent:x:{_USER}:{_USER}:agent:/nonexistent:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
)
_GROUP: Final = f"agent:x:{_USER}:\nnogroup:x:65534:\n"
_HOSTS: Final = "127.0.0.1 localhost sandbox\n::1 localhost\n"
_FILES: Final = (("/etc/passwd", _PASSWD), ("/etc/group", _GROUP), ("/etc/hosts", _HOSTS))
_ARGUMENTS: Final = spec_.FIRST_PAYLOAD
_FILTER: Final = spec_.FIRST_PAYLOAD + 1
_FIRST_FILE: Final = spec_.FIRST_PAYLOAD + 2


@dataclass(frozen=True)
class Bubblewrap:
    """Confines by bubblewrap.

    Args:
        read_only: Trees that the operator shows to every program, such as tool chains.
        python: Runs our own steps inside.
        disable_userns: Also forbid new user namespaces by the kernel's count; bubblewrap 0.8 can.
        counted: A control group can be made around a program, and counts what no process holds.
    """

    program: str = ""
    read_only: tuple[Path, ...] = ()
    python: Path = field(default_factory=trees.interpreter)
    disable_userns: bool = True
    counted: bool = False
    name: str = "bubblewrap"
    why_not: str = ""
    own_network: bool = True
    walls: frozenset[Wall] = frozenset(Wall)

    @classmethod
    def on(cls, path: str, read_only: tuple[Path, ...] = ()) -> "Bubblewrap":
        """The level as this host can have it; whether it works is the probe's to find out.

        Args:
            path: The PATH of the worker.
            read_only: As the field.
        """
        program = shutil.which(PROGRAM, path=path) or shutil.which(PROGRAM, path=environment.DEFAULT_PATH)
        if program is None:
            return cls(
                why_not=f"{PROGRAM} is not in the PATH: install the package bubblewrap, or set FETTLE_SANDBOX to "
                "another level"
            )
        if not seccomp.supported():
            return cls(program, why_not="there is no filter of system calls for this machine's architecture")
        return cls(program, read_only, counted=cgroups.available())

    def plan(self, spec: spec_.Spec) -> spec_.Launch:
        if self.why_not:
            raise errors.AgentUnavailable(f"{spec.argv[0]} was not started, the sandbox does not work: {self.why_not}")
        places = spec.places or spec_.Places(home=spec.cwd, tmp=Path("/tmp"), work=spec.cwd)
        always = (*trees.of_interpreter(self.python), trees.OWN, *self.read_only, *places.readable)
        try:
            path = spec.env.get("PATH", environment.DEFAULT_PATH)
            name, needed = trees.of_program(spec.argv[0], path, always)
        except LookupError as missing:
            raise errors.AgentUnavailable(
                f"{spec.argv[0]} was to be started in {spec.cwd}: {missing}; install it on this host"
            ) from missing
        shown = trees.outermost(each for each in (*always, *needed) if each.exists())
        inner = self._inner((name, *spec.argv[1:]), places, shown, way_out=spec.network is not None)
        arguments = [*self._walls(), *self._files(spec, places, shown)]
        for key, value in spec.env.items():
            arguments += ["--setenv", key, value]
        payload = "".join(f"{each}\0" for each in arguments).encode()
        segment = None if self.counted else seccomp.SMALL_SEGMENT
        return spec_.Launch(
            argv=(self.program, "--args", str(_ARGUMENTS), "--", *inner),
            env={},
            cwd=Path("/"),
            payloads=(payload, seccomp.program(segment=segment), *(text.encode() for _, text in _FILES)),
            monitor=True,
            watched=(places.home, places.work),
            counted=self.counted,
        )

    def _inner(
        self, argv: tuple[str, ...], places: spec_.Places, shown: list[Path], *, way_out: bool
    ) -> tuple[str, ...]:
        read = [*(str(path) for path in trees.SYSTEM), "/etc", "/proc", "/run", *map(str, shown)]
        write = ["/dev", "/proc", "/tmp", "/var/tmp", *map(str, (places.home, places.tmp, places.work))]
        caged = spec_.caged(self.python, trees.OWN / "cage.py", argv, read=read, write=write)
        if not way_out:
            return caged
        return (
            str(self.python),
            "-I",
            "-S",
            str(trees.OWN / "bridge.py"),
            spec_.WAY_OUT,
            str(bridge.PORT),
            "--",
            *caged,
        )

    def _walls(self) -> list[str]:
        found = ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        found += ["--unshare-cgroup-try", "--uid", str(_USER), "--gid", str(_USER), "--hostname", "sandbox"]
        found += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--seccomp", str(_FILTER)]
        return found + (["--disable-userns"] if self.disable_userns else [])

    def _files(self, spec: spec_.Spec, places: spec_.Places, shown: list[Path]) -> list[str]:
        size = str(spec.rlimits.tmp_mebibytes * limits.MEBIBYTE)
        found: list[str] = []
        for system, target in trees.existing_system():
            found += ["--symlink", target, str(system)] if target else ["--ro-bind", str(system), str(system)]
        for path in trees.CONFIGURATION:
            found += ["--ro-bind-try", str(path), str(path)]
        for fd, (path_inside, _) in enumerate(_FILES, _FIRST_FILE):
            found += ["--ro-bind-data", str(fd), path_inside]
        found += ["--proc", "/proc", "--dev", "/dev", "--dir", "/run/fettle"]
        for own in ("/dev/shm", "/tmp", "/var/tmp"):
            found += ["--size", size, "--perms", "1777", "--tmpfs", own]
        mounts = {path: ["--ro-bind", str(path), str(path)] for path in shown if not _in_system(path)}
        mounts |= {path: ["--bind", str(path), str(path)] for path in (places.home, places.work)}
        if places.tmp not in {Path("/tmp"), Path("/var/tmp")}:
            mounts[places.tmp] = ["--size", size, "--perms", "0700", "--tmpfs", str(places.tmp)]
        if spec.network is not None:
            found += ["--ro-bind", str(spec.network), spec_.WAY_OUT]
        for path in sorted(mounts, key=lambda each: len(each.parts)):
            found += mounts[path]
        return [*found, "--remount-ro", "/", "--chdir", str(spec.cwd)]


def explanation(said: str, facts: Mapping[str, str]) -> str:
    """Why bubblewrap does not work here, from what it said and what the kernel's switches are.

    Args:
        said: Its error output.
        facts: Contents of the files named in `SWITCHES`; a missing file is left out.
    """
    first = next((line for line in said.splitlines() if line.startswith(f"{PROGRAM}:")), said.strip()[-300:])
    cause = ""
    if facts.get("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        cause = (
            "this kernel forbids user namespaces without privileges (kernel.unprivileged_userns_clone is 0): "
            "sysctl kernel.unprivileged_userns_clone=1"
        )
    elif facts.get("/proc/sys/user/max_user_namespaces") == "0":
        cause = "this kernel allows no user namespaces (user.max_user_namespaces is 0): raise that sysctl"
    elif facts.get("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        cause = (
            "AppArmor restricts user namespaces here (kernel.apparmor_restrict_unprivileged_userns is 1): load a "
            f"profile that allows `userns` for {PROGRAM}, as the package apparmor-profiles has one"
        )
    elif facts.get("/proc/self/status:Seccomp", "0") != "0":
        cause = (
            "a filter of system calls is over this process, as container engines set one: give the container of the "
            "agent host a profile that allows unshare, mount and pivot_root (and an unmasked /proc)"
        )
    elif "proc" in first and "mount" in first.casefold():
        cause = "/proc cannot be mounted, as in a container with a masked /proc: unmask it for the agent host"
    return f"bubblewrap says '{first or 'nothing'}'; {cause or 'run it by hand as the worker user to see why'}"


SWITCHES: Final = (
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
)


def switches() -> dict[str, str]:
    """What `explanation` takes, on this host."""
    found = {}
    for name in SWITCHES:
        try:
            found[name] = Path(name).read_text().strip()
        except OSError:
            continue
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        found["/proc/self/status:Seccomp"] = next(
            (each.split()[1] for each in lines if each.startswith("Seccomp:")), "0"
        )
    except OSError:
        pass
    return found


def landlock_note() -> str:
    """What this kernel's Landlock adds."""
    found = landlock.version()
    if found < landlock.LEAST_VERSION:
        return "without Landlock as a second wall (this kernel has none)"
    return f"Landlock {found} as a second wall"


def _in_system(path: Path) -> bool:
    return any(path == root or root in path.parents for root in trees.SYSTEM)
