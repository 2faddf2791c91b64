"""The one way out of a sandbox that has no network: a loopback port whose bytes go to a Unix socket, and a program.

Run inside the sandbox as `python -I -S bridge.py SOCKET PORT -- PROGRAM ARGUMENT...`, standard library only. It listens
on 127.0.0.1:PORT, starts the program, and passes every connection's bytes to SOCKET and back, both directions to their
ends. It decides nothing: the proxy behind the socket does, outside, where the program cannot reach it.

Stdin, stdout and stderr are those of the program; nothing is relayed. Signals are passed on to the program's process
group. It ends as the program ends: with its exit code, or by its signal. 127: the program does not exist, 126: it
cannot be executed, 125: the port or the arguments are unusable. If this process is killed, the program is too.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import sys
from typing import Final, NoReturn

PORT: Final = 3128
"""Where the bridge listens when nobody says otherwise: in a network of its own every port is free."""

_USAGE: Final = "usage: bridge.py SOCKET PORT -- PROGRAM [ARGUMENT...]"
_UNUSABLE: Final = 125
_PASSED_ON: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_CHUNK: Final = 64 * 1024
_MOST_CONNECTIONS: Final = 256
"""At once; more wait in the kernel's queue. Bounds the file descriptors that a runaway program can take here."""
_PR_SET_PDEATHSIG: Final = 1


class _End:
    """One socket of a pair: what it has sent and the other one has not yet taken."""

    def __init__(self, own: socket.socket) -> None:
        self.socket = own
        self.peer = self
        self.unsent = b""
        """Read from here, still to be written to the peer."""
        self.ended = False
        """It has said that it sends no more."""
        self.told = False
        """The peer was told so."""

    @property
    def interest(self) -> int:
        """Read only when the peer has taken everything: a slow reader slows the writer, memory stays small."""
        reading = selectors.EVENT_READ if not self.ended and not self.unsent else 0
        writing = selectors.EVENT_WRITE if self.peer.unsent else 0
        return reading | writing


class Bridge:
    """The relay and the program. `run` returns when the program has ended, with its wait status."""

    def __init__(self, path: str, port: int) -> None:
        self._path = path
        self._ends = 0
        self._accepts = False
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._listener.setblocking(False)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        for number in _PASSED_ON:
            signal.signal(number, _nothing)

    def run(self, argv: list[str]) -> int:
        program = _start(argv)
        # From its folder the socket has a short name, and an address holds about 100 characters.
        with contextlib.suppress(OSError):
            os.chdir(os.path.dirname(self._path))
            self._path = os.path.basename(self._path)
        _point_at_null(0, 1, 2)  # the program holds its own copies; ours would keep its reader from seeing the end
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._accept_more()
        while True:
            for key, mask in self._selector.select():
                if key.fileobj is self._listener:
                    self._connect()
                elif key.fd == self._wake:
                    status = self._heed_signals(program)
                    if status is not None:
                        return status
                elif key.fd == key.data.socket.fileno():  # not closed by an event before it in this round
                    self._carry(key.data, mask)

    def _heed_signals(self, program: int) -> int | None:
        """Pass on what was received; the wait status if the program has ended."""
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wake, 4096):
                if number in _PASSED_ON:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(program, number)
        return _reap(program)

    def _accept_more(self) -> None:
        wanted = self._ends < 2 * _MOST_CONNECTIONS
        if wanted != self._accepts:
            self._accepts = wanted
            if wanted:
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener)

    def _connect(self) -> None:
        try:
            inside, _ = self._listener.accept()
        except OSError:  # the program had left again
            return
        outside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            outside.connect(self._path)
        except OSError:  # the proxy is gone: the program sees a connection that ends
            outside.close()
            inside.close()
            return
        inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = _End(inside), _End(outside)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        for end in ends:
            end.socket.setblocking(False)
            self._selector.register(end.socket, selectors.EVENT_READ, end)
        self._ends += 2
        self._accept_more()

    def _carry(self, end: _End, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ and not end.unsent:
                self._take(end)
            if mask & selectors.EVENT_WRITE:
                self._give(end.peer)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(end)
            return
        if end.told and end.peer.told:
            self._drop(end)
            return
        for each in (end, end.peer):
            self._watch(each)

    def _take(self, end: _End) -> None:
        end.unsent = end.socket.recv(_CHUNK)
        end.ended = not end.unsent
        self._give(end)

    def _give(self, end: _End) -> None:
        """Write to the peer what `end` has sent, and after the last of it, that it was the last."""
        if end.unsent:
            with contextlib.suppress(BlockingIOError):
                end.unsent = end.unsent[end.peer.socket.send(end.unsent) :]
        if end.ended and not end.unsent and not end.told:
            end.told = True
            end.peer.socket.shutdown(socket.SHUT_WR)

    def _watch(self, end: _End) -> None:
        watched = end.socket in self._selector.get_map()
        if not end.interest:
            if watched:
                self._selector.unregister(end.socket)
        elif watched:
            self._selector.modify(end.socket, end.interest, end)
        else:
            self._selector.register(end.socket, end.interest, end)

    def _drop(self, end: _End) -> None:
        for each in (end, end.peer):
            if each.socket in self._selector.get_map():
                self._selector.unregister(each.socket)
            each.socket.close()
        self._ends -= 2
        self._accept_more()


def _start(argv: list[str]) -> int:
    bridge = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_program(argv, bridge)
    with contextlib.suppress(OSError):  # both do it, so that it is done before either goes on
        os.setpgid(pid, pid)
    return pid


def _be_program(argv: list[str], bridge: int) -> NoReturn:
    """The forked child: never returns."""
    code = 126
    try:
        # A group of its own: a signal to the bridge's group would reach the program twice, once passed on.
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != bridge:
            os._exit(code)  # it was killed before the line above took effect
        signal.set_wakeup_fd(-1)
        for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(argv[0], argv)
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(2, f"{argv[0]} cannot be started in the sandbox: {error.strerror}\n".encode())
    finally:
        os._exit(code)


def _reap(program: int) -> int | None:
    """Collect every ended child, adopted ones too: in a sandbox this may be the first process."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == program:
            return status
        if pid == 0:
            return None


def _point_at_null(*fds: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def _nothing(*_: object) -> None:
    """A handler must exist for the wakeup byte to be written."""


def _end_like(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    number = -code
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a namespace is not ended by its own signal


def main(arguments: list[str]) -> NoReturn:
    """Never returns: the process ends as the program does."""
    try:
        path, port, dashes, *argv = arguments
        if dashes != "--" or not argv or not path.startswith("/"):
            raise ValueError
        bridge = Bridge(path, int(port))
    except (ValueError, OverflowError):
        sys.stderr.write(_USAGE + "\n")
        os._exit(_UNUSABLE)
    except OSError as error:
        sys.stderr.write(f"the bridge cannot listen on 127.0.0.1:{port}: {error.strerror}\n")
        os._exit(_UNUSABLE)
    _end_like(bridge.run(argv))


if __name__ == "__main__":
    main(sys.argv[1:])
