"""Starts one untrusted program, outlives the worker that asked for it, and leaves no process of it behind.

Run as `python -I -S launcher.py CONTROL_FD STATUS_FD`, standard library only, with an empty environment: a child of the
same user could read it in /proc. Stdin, stdout and stderr are those of the program; nothing is relayed.

CONTROL is the lifeline, a pipe from the worker. Its first line is the specification as JSON: `argv`, `env`, `cwd`,
`limits` (names of the `resource` module to values), `grace` (seconds). A later line `stop <grace>` asks for the end;
end of file says that the worker is gone, kill -9 included, and means the same with the grace of the specification.

STATUS gets JSON lines: `{"started": pid}` or `{"error": ..., "errno": n}`, and at the end `{"exit_code", "signal",
"swept", "left", "stopped"}`.

This process is a child subreaper: when the program ends, whatever it left running (its own sessions, `nohup`) becomes a
child of this one, and is killed until none is left.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_SECONDS = 10.0
"""A process in uninterruptible sleep survives SIGKILL for a while; after this time it is reported, not awaited."""


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
        # A blocked-then-polled SIGCHLD would be lost between reap and poll; the wakeup pipe keeps one byte a signal.
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(asked, self._asked_by_signal)

    def run(self) -> None:
        spec = self._read_spec()
        if spec is None:
            return
        self._grace = float(spec["grace"])
        _become_subreaper()
        try:
            self._program = _start(spec, keep=(self._control, self._status))
        except OSError as error:
            self._report(error=error.strerror or "cannot start", errno=error.errno or 0)
            return
        # The program holds its own copies; ours would keep the worker from seeing the end of the output.
        _point_at_null(0, 1, 2)
        self._report(started=self._program)
        self._wait_for_end()
        left = self._sweep()
        code = os.waitstatus_to_exitcode(self._wait_status) if self._wait_status is not None else None
        self._report(
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            swept=self._swept,
            left=left,
            stopped=self._stopped,
        )

    def _read_spec(self) -> dict[str, Any] | None:
        while b"\n" not in self._commands:
            data = os.read(self._control, 65536)
            if not data:
                return None  # the worker died before it had said what to start
            self._commands += data
        line, self._commands = self._commands.split(b"\n", 1)
        spec = json.loads(line)
        return spec if isinstance(spec, dict) else None

    def _wait_for_end(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        while self._wait_status is None:
            timeout = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            events = dict(poll.poll(None if timeout is None else timeout * 1000))
            if self._wake in events:
                with suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            if self._control in events and not self._read_command():
                poll.unregister(self._control)
            self._reap()
            if self._wait_status is None and self._deadline is not None and time.monotonic() >= self._deadline:
                _signal_group(self._program, signal.SIGKILL)
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
            _signal_group(self._program, signal.SIGTERM)
        self._stopped = True
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

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
            elif self._wait_status is not None:
                self._swept += 1

    def _sweep(self) -> int:
        """Kill what the program left, generation by generation: a killed parent's children are adopted by us. Returns
        how many could not be killed."""
        deadline = time.monotonic() + _SWEEP_SECONDS
        while self._reap() and time.monotonic() < deadline:
            for pid in _children():
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
        return len(_children()) if self._reap() else 0

    def _report(self, **facts: object) -> None:
        with suppress(BrokenPipeError):  # the worker is gone; the clean-up goes on without a reader
            os.write(self._status, json.dumps(facts).encode() + b"\n")


def _start(spec: dict[str, Any], keep: tuple[int, ...]) -> int:
    """Fork and execute the program in its own session. Raises OSError as `execve` or `chdir` did."""
    for fd in keep:
        os.set_inheritable(fd, False)
    launcher = os.getpid()
    failed, report = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _be_program(spec, launcher, report)
    os.close(report)
    with os.fdopen(failed, "rb") as answer:
        number = answer.read()
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


def _be_program(spec: dict[str, Any], launcher: int, report: int) -> None:
    """The forked child: never returns. An error travels as its number through `report`, which execve closes."""
    try:
        os.setsid()
        # If this launcher is killed, the kernel ends the program; its children are then the worker's to find.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(1)  # it was killed before the line above took effect
        for name, wanted in spec["limits"].items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(number, (value, value))
        for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError, ValueError):
                signal.signal(each, signal.SIG_DFL)  # Python ignores SIGPIPE, and a child would inherit that
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.set_wakeup_fd(-1)
        os.closerange(3, report)
        os.closerange(report + 1, max(report + 2, 65536))
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # `env` decides the PATH, as for any child
    except OSError as error:
        os.write(report, str(error.errno or 1).encode())
    except BaseException:
        os.write(report, b"22")
    finally:
        os._exit(127)


def _become_subreaper() -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers: orphans could not be found")


def _children() -> list[int]:
    """Pids of this process's children, by a walk through /proc: not every kernel has the `children` file."""
    mine = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The command name may hold anything, brackets and blanks too; fields count from the last bracket.
                fields = stat.read().rpartition(b")")[2].split()
                if int(fields[1]) == mine:
                    found.append(int(name))
    return found


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _point_at_null(*fds: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def _nothing(*_: object) -> None:
    """A handler must exist for the wakeup byte to be written."""


if __name__ == "__main__":
    Launcher(int(sys.argv[1]), int(sys.argv[2])).run()
