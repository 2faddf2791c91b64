"""Starts one untrusted program, outlives the worker that asked for it, and leaves no process of it behind.

Run as `python -I -S launcher.py CONTROL_FD STATUS_FD`, standard library only, with an empty environment: a child of the
same user could read it in /proc. Stdin, stdout and stderr are those of the program; nothing is relayed.

CONTROL is the lifeline, a pipe from the worker. Its first line is the specification as JSON, made by
`sandbox.spec.message`. A later line `stop <grace>` asks for the end; end of file says that the worker is gone, kill -9
included, and means the same with the grace of the specification.

STATUS gets JSON lines: `{"started": pid}` or `{"error": ..., "errno": n}`, and at the end `{"exit_code", "signal",
"swept", "left", "stopped", "exceeded"}`.

This process is a child subreaper: when the program ends, whatever it left running (its own sessions, `nohup`) becomes a
child of this one, and is killed until none is left. It holds the limits that the kernel does not hold here.
"""

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

# Run by its path in isolated mode, where nothing of ours is found; last, so that nothing of the library is hidden.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from sandbox import birth, cgroups, watch

_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_SECONDS = 10.0
"""A process in uninterruptible sleep survives SIGKILL for a while; after this time it is reported, not awaited."""
_LOOK_SECONDS = 0.25
_ASK_SECONDS = 2.0
_AFTER_SECONDS = 7.0
"""Together shorter than the worker waits for the end of a sweep."""
_KILLED_INSIDE = 128 + signal.SIGKILL


class Launcher:
    """One program's life. `run` returns when the program and everything it started have ended."""

    def __init__(self, control: int, status: int) -> None:
        self._control = control
        self._status = status
        self._commands = b""
        self._program = 0
        self._wait_status: int | None = None
        self._stopped = False
        self._swept = 0
        self._grace = 5.0
        self._deadline: float | None = None
        self._monitor = False
        self._exceeded = ""
        self._group: cgroups.Group | None = None
        # A blocked-then-polled SIGCHLD would be lost between reap and poll; the wakeup pipe keeps one byte a signal.
        self._wake, self._wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(asked, self._asked_by_signal)

    def run(self) -> None:
        spec = self._read_spec()
        if spec is None:
            return
        self._grace = float(spec["grace"])
        self._monitor = spec["monitor"]
        _become_subreaper()
        self._group = cgroups.Group.make(spec["memory"], spec["processes"])
        if spec["counted"] and self._group is None:
            self._report(error="no control group can be made any more, which its limits rely on", errno=0)
            return
        try:
            self._program = birth.start(spec, (self._control, self._status), self._group)
        except OSError as error:
            self._remove_group()
            self._report(error=error.strerror or "cannot start", errno=error.errno or 0)
            return
        complaints = os.dup(2)
        # The program holds its own copies; ours would keep the worker from seeing the end of the output.
        _point_at_null(0, 1, 2)
        self._report(started=self._program)
        self._wait_for_end(*self._watches(spec))
        code = os.waitstatus_to_exitcode(self._wait_status) if self._wait_status is not None else None
        self._exceeded = self._exceeded or self._ended_for_memory(spec, code)
        # Before the sweep: an engine puts its containers away itself, while it can.
        _run(spec["after"], spec["env"], _AFTER_SECONDS)
        left = self._sweep()
        if self._exceeded:
            os.write(complaints, f"\nfettle: {self._exceeded}\n".encode())
        self._remove_group()
        self._report(
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            swept=self._swept,
            left=left,
            stopped=self._stopped,
            exceeded=self._exceeded,
        )

    def _ended_for_memory(self, spec: dict[str, Any], code: int | None) -> str:
        allowed = f"its limit of {spec['memory'] // 1048576} MiB"
        asking = spec["out_of_memory"]
        if (self._group is not None and self._group.out_of_memory()) or (asking and _says_true(asking, spec["env"])):
            return f"the kernel has ended a process of the program: it used more memory than {allowed}"
        # podman does not notice it on every kernel, and somebody else may have sent that signal.
        if asking and spec["memory"] and code == _KILLED_INSIDE and not self._stopped:
            return f"the program was killed, most likely by the kernel: for more memory than {allowed}"
        return ""

    def _watches(self, spec: dict[str, Any]) -> tuple[watch.Watch, watch.Growth]:
        """What the control group holds needs no watch."""
        memory, processes = (0, 0) if self._group else (spec["memory"], spec["processes"])
        growth = watch.Growth(spec["watched"], spec["disk"], self._wake_end, root=os.getpid(), memory_bytes=memory)
        return watch.Watch(os.getpid(), memory_bytes=memory, processes=processes), growth

    def _read_spec(self) -> dict[str, Any] | None:
        while b"\n" not in self._commands:
            data = os.read(self._control, 65536)
            if not data:
                return None  # the worker died before it had said what to start
            self._commands += data
        line, self._commands = self._commands.split(b"\n", 1)
        spec = json.loads(line)
        return spec if isinstance(spec, dict) else None

    def _wait_for_end(self, use: watch.Watch, growth: watch.Growth) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        while self._wait_status is None:
            timeout = _LOOK_SECONDS if use.needed else None
            if self._deadline is not None:
                timeout = min(timeout or _LOOK_SECONDS, max(0.0, self._deadline - time.monotonic()))
            events = dict(poll.poll(None if timeout is None else timeout * 1000))
            if self._wake in events:
                with suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            if self._control in events and not self._read_command():
                poll.unregister(self._control)
            self._reap()
            if self._wait_status is None and not self._exceeded and (why := growth.exceeded or use.look()):
                self._exceeded = f"the program was ended: {why}"
                self._deadline = time.monotonic()
            if self._wait_status is None and self._deadline is not None and time.monotonic() >= self._deadline:
                self._kill()
                self._deadline = time.monotonic() + 0.5

    def _read_command(self) -> bool:
        """Returns False at the end of the lifeline."""
        data = os.read(self._control, 65536)
        if not data:
            self._stop(self._grace)
            return False
        self._commands += data
        while b"\n" in self._commands:
            line, self._commands = self._commands.split(b"\n", 1)
            word, _, grace = line.decode("ascii", "replace").partition(" ")
            if word == "stop":
                with suppress(ValueError):
                    self._grace = float(grace)
                self._stop(self._grace)
        return True

    def _asked_by_signal(self, *_: object) -> None:
        self._stop(self._grace)

    def _stop(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        if self._deadline is None and self._program and self._wait_status is None:
            self._ask_to_end()
        self._stopped = True
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    def _ask_to_end(self) -> None:
        """TERM to the program's group. A monitor would take what it watches with it without a word, so then it goes
        to the group inside; one that has not got that far has nothing to lose."""
        if not self._monitor:
            _signal_group(self._program, signal.SIGTERM)
            return
        inside = {_group_of(pid) for pid in _children(self._program)} - {self._program, 0}
        for group in inside:
            _signal_group(group, signal.SIGTERM)
        if not inside:
            _signal_group(self._program, signal.SIGKILL)

    def _kill(self) -> None:
        if self._group is not None:
            self._group.kill()
        _signal_group(self._program, signal.SIGKILL)

    def _remove_group(self) -> None:
        if self._group is not None:
            self._group.remove()

    def _reap(self) -> bool:
        """Collect every ended child. Returns False when there is no child at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._program:
                self._wait_status = status
            elif self._wait_status is not None and not self._monitor:  # what a monitor leaves is its own inner half
                self._swept += 1

    def _sweep(self) -> int:
        """Kill what the program left, generation by generation: a killed parent's children are adopted by us. Returns
        how many could not be killed."""
        deadline = time.monotonic() + _SWEEP_SECONDS
        while self._reap() and time.monotonic() < deadline:
            if self._group is not None:
                self._group.kill()
            for pid in _children(os.getpid()):
                # The group first: that is one step for the kernel, so a process that forks faster than we read
                # /proc cannot slip through. Our children are unreaped, so neither number can have been reused.
                with suppress(ProcessLookupError):
                    group = os.getpgid(pid)
                    if group != os.getpgrp():
                        _signal_group(group, signal.SIGKILL)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            select.select([self._wake], [], [], 0.02)
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return len(_children(os.getpid())) if self._reap() else 0

    def _report(self, **facts: object) -> None:
        with suppress(BrokenPipeError):  # the worker is gone; the clean-up goes on without a reader
            os.write(self._status, json.dumps(facts).encode() + b"\n")


def _become_subreaper() -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers: orphans could not be found")


def _children(parent: int) -> list[int]:
    """Pids of a process's children, by a walk through /proc: not every kernel has the `children` file."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The command name may hold anything, brackets and blanks too; fields count from the last bracket.
                fields = stat.read().rpartition(b")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(name))
    return found


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_of(pid: int) -> int:
    """0 when the process is gone."""
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return 0


def _says_true(argv: list[str], env: dict[str, str]) -> bool:
    said, answer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _run(argv, env, _ASK_SECONDS, answer)
        with suppress(BlockingIOError):
            return os.read(said, 100).strip() == b"true"
        return False
    finally:
        os.close(said)
        os.close(answer)


def _run(argv: list[str], env: dict[str, str], seconds: float, output: int = 1) -> None:
    """Run a last command to its end, within a bound: it reaches what no signal does."""
    if not argv:
        return
    try:
        pid = os.posix_spawnp(argv[0], argv, env, setsid=True, file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)])
    except OSError:
        return
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.02)
    _signal_group(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _point_at_null(*fds: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def _nothing(*_: object) -> None:
    """A handler must exist for the wakeup byte to be written."""


if __name__ == "__main__":
    Launcher(int(sys.argv[1]), int(sys.argv[2])).run()
