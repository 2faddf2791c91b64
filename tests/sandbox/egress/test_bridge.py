"""The bridge as a process of its own, and the whole way out of a network that has no other."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sandbox import bridge, proc, trees
from sandbox.egress import gateway, proxy, rules
from tests.sandbox.egress import peers

BRIDGE = str(Path(bridge.__file__))
PYTHON = (sys.executable, "-I", "-S")
SYSTEM_PYTHON = ("/usr/bin/python3", "-I", "-S")
"""For another user: the interpreter of the tests may lie in a home that is closed to it."""
NOBODY = 65534
NOWHERE = "/nowhere.sock"
SERVER_NAME = "registry.example.com"


def free_port() -> int:
    """One that is free, and that the kernel gives to nobody who asks for any: the bridge takes it a moment later."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(15000, lowest - 1000), lowest), 100) if lowest > 3000 else [0] * 100:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as found:
            taken: int = found.getsockname()[1]
            return taken
    raise AssertionError("a hundred ports of this machine are taken")


async def bridged(
    *program: str, path: str = NOWHERE, port: int = 0, before: tuple[str, ...] = (), account: int | None = None
) -> Process:
    python = PYTHON if account is None else SYSTEM_PYTHON
    return await asyncio.create_subprocess_exec(
        *(*before, *python, BRIDGE, path, str(port), "--", *program),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={"PATH": "/usr/bin:/bin"},
        start_new_session=True,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
    )


def script(text: str) -> tuple[str, ...]:
    return (*PYTHON, "-c", text)


async def ended(process: Process, given: bytes = b"") -> tuple[int | None, bytes, bytes]:
    async with asyncio.timeout(40):
        out, err = await process.communicate(given)
    return process.returncode, out, err


@asynccontextmanager
async def listening(path: Path, serve: Callable[..., object]) -> AsyncIterator[str]:
    server = await asyncio.start_unix_server(serve, path)  # type: ignore[arg-type]
    try:
        yield str(path)
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("code", [0, 7, 255])
async def test_it_ends_with_the_programs_exit_code(code: int) -> None:
    assert (await ended(await bridged("sh", "-c", f"exit {code}")))[0] == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
async def test_it_ends_by_the_programs_signal(number: signal.Signals) -> None:
    assert (await ended(await bridged("sh", "-c", f"kill -{number.name[3:]} $$")))[0] == -number


async def test_the_programs_streams_are_its_own() -> None:
    code, out, err = await ended(await bridged("sh", "-c", "cat; echo complaint >&2"), b"given")
    assert (code, out, err) == (0, b"given", b"complaint\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((NOWHERE, "0", "--", "/no/such/program"), 127, b"/no/such/program cannot be started in the sandbox"),
        ((NOWHERE, "0", "--", "/etc/passwd"), 126, b"/etc/passwd cannot be started in the sandbox"),
        ((NOWHERE, "0", "--"), 125, b"usage: "),
        ((NOWHERE, "x", "--", "true"), 125, b"usage: "),
        ((NOWHERE, "70000", "--", "true"), 125, b"usage: "),
        (("relative.sock", "0", "--", "true"), 125, b"usage: "),
        ((NOWHERE, "0", "true"), 125, b"usage: "),
        ((), 125, b"usage: "),
    ],
)
def test_what_cannot_be_started_is_told_by_code_and_words(arguments: tuple[str, ...], code: int, words: bytes) -> None:
    done = subprocess.run([*PYTHON, BRIDGE, *arguments], capture_output=True, timeout=20)
    assert done.returncode == code
    assert words in done.stderr


async def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = await ended(await bridged("true", port=port))
    assert code == 125
    assert f"cannot listen on 127.0.0.1:{port}".encode() in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
async def test_a_signal_reaches_the_program_once(number: signal.Signals) -> None:
    """The launcher signals the group; a program that hears TERM twice may give up its clean-up."""
    text = (
        "import signal, sys\n"
        f"one = {{{int(number)}}}\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, one)\n"
        "print('ready', flush=True)\n"
        "signal.sigwait(one)\n"
        "sys.exit(1 if signal.sigtimedwait(one, 0.3) is None else 2)\n"
    )
    process = await bridged(*script(text))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, number)
    assert (await ended(process))[0] == 1


async def test_killing_the_bridge_kills_the_program() -> None:
    process = await bridged("sh", "-c", "echo $$; exec sleep 60")
    assert process.stdout is not None
    program = proc.identity(int(await process.stdout.readline()))
    assert program is not None
    process.kill()
    await process.wait()
    async with asyncio.timeout(30):
        assert await process.stdout.read() == b""  # its end of the pipe closes when it is gone


async def test_bytes_pass_both_ways_and_each_end_is_told_on(tmp_path: Path) -> None:
    port = free_port()
    text = (
        "import socket, threading\n"
        f"own = socket.create_connection(('127.0.0.1', {port}))\n"
        "data = bytes(range(256)) * 40960\n"
        "def send():\n"
        "    own.sendall(data)\n"
        "    own.shutdown(socket.SHUT_WR)\n"
        "threading.Thread(target=send).start()\n"
        "back = b''.join(iter(lambda: own.recv(65536), b''))\n"
        "print(back == data)\n"
    )
    served = tmp_path / "s"
    async with listening(served, echo) as path:
        assert await ended(await bridged(*script(text), path=path, port=port)) == (0, b"True\n", b"")
        deep = tmp_path / ("deep" * 40) / "s"
        deep.parent.mkdir()
        deep.hardlink_to(served)
        assert await ended(await bridged(*script(text), path=str(deep), port=port)) == (0, b"True\n", b"")


async def test_many_connections_at_once_are_kept_apart(tmp_path: Path) -> None:
    """More than it serves at once: those beyond wait, none is lost."""
    port = free_port()
    text = (
        "import socket, threading\n"
        "good = []\n"
        "def ask(n):\n"
        f"    own = socket.create_connection(('127.0.0.1', {port}))\n"
        "    own.sendall(b'%d' % n * 1000)\n"
        "    own.shutdown(socket.SHUT_WR)\n"
        "    back = b''.join(iter(lambda: own.recv(65536), b''))\n"
        "    good.append(back == b'%d' % n * 1000)\n"
        "each = [threading.Thread(target=ask, args=(n,)) for n in range(300)]\n"
        "[t.start() for t in each]\n"
        "[t.join() for t in each]\n"
        "print(len(good), all(good))\n"
    )
    async with listening(tmp_path / "s", echo) as path:
        assert await ended(await bridged(*script(text), path=path, port=port)) == (0, b"300 True\n", b"")


async def test_a_reader_that_reads_nothing_does_not_fill_the_bridges_memory(tmp_path: Path) -> None:
    port = free_port()
    text = (
        "import socket\n"
        f"own = socket.create_connection(('127.0.0.1', {port}))\n"
        "own.settimeout(1)\n"
        "sent = 0\n"
        "try:\n"
        "    while sent < 1 << 28: sent += own.send(bytes(65536))\n"
        "except TimeoutError:\n"
        "    print('it waits')\n"
    )
    stop = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.close()

    async with listening(tmp_path / "s", deaf) as path:
        process = await bridged(*script(text), path=path, port=port)
        assert await ended(process) == (0, b"it waits\n", b"")
        stop.set()


async def test_without_its_proxy_a_connection_ends_and_the_program_goes_on() -> None:
    port = free_port()
    text = (
        "import socket\n"
        "for _ in range(3):\n"
        f"    own = socket.create_connection(('127.0.0.1', {port}))\n"
        "    try: print(own.recv(10))\n"
        "    except ConnectionResetError: print(b'')\n"
    )
    assert await ended(await bridged(*script(text), port=port)) == (0, b"b''\n" * 3, b"")


def isolated(path: Path) -> tuple[str, ...]:
    """A sandbox without a network; the rest of it is others' business."""
    tool = shutil.which("bwrap")
    if tool is None:
        pytest.skip("bubblewrap is not installed: the way out of an isolated network is NOT tested here")
    argv = (tool, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
    # Not over /tmp, in which this checkout and its Python may lie.
    argv = (*argv, "--tmpfs", "/run", "--bind", str(path), "/run/proxy.sock")
    if subprocess.run([*argv, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine allows no unprivileged namespaces: the way out of an isolated network is NOT tested")
    return argv


ATTACKS = """
import socket, sys
def result(attempt):
    try: return attempt()
    except OSError as error: return type(error).__name__
def through(raw):
    own = socket.create_connection(("127.0.0.1", 3128), 10)
    own.sendall(raw)
    answer = b"".join(iter(lambda: own.recv(65536), b""))
    return int(answer.split(b" ")[1]) if answer else "nothing"
host, allowed, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def ask(name, port): return through(f"GET http://{name}:{port}/ HTTP/1.1\\r\\n\\r\\n".encode())
def open_to(name, port): return through(f"CONNECT {name}:{port} HTTP/1.1\\r\\n\\r\\n".encode())
print("direct", result(lambda: socket.create_connection(("127.0.0.1", allowed), 2)))
print("metadata", result(lambda: socket.create_connection(("169.254.169.254", 80), 2)))
print("dns", result(lambda: socket.getaddrinfo("registry.example.com", 443)))
print("udp", result(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53))))
print("allowed", ask(host, allowed))
print("case", ask(host.upper() + ".", allowed))
print("port", ask(host, other))
print("elsewhere", ask("evil.example.org", allowed))
print("literal", ask("127.0.0.1", allowed))
print("decimal", ask("2130706433", allowed))
print("mapped", open_to("[::ffff:127.0.0.1]", allowed))
print("idn", ask("reg\\u0131stry.example.com", allowed))
print("forge", open_to("code.example.org", 443))
print("model", through(b"POST /model/v1/messages HTTP/1.1\\r\\nx-api-key: placeholder\\r\\n"
    b"content-length: 0\\r\\nconnection: close\\r\\n\\r\\n"))
print("files", through(b"POST /model/v1/files HTTP/1.1\\r\\nx-api-key: placeholder\\r\\ncontent-length: 0\\r\\n\\r\\n"))
"""


@pytest.fixture(params=[None, NOBODY], ids=["own-user", "other-user"])
def account(request: pytest.FixtureRequest) -> int | None:
    """Who runs the sandbox: this user, or an ordinary one that was given the socket."""
    wanted: int | None = request.param
    if wanted is not None and (os.geteuid() != 0 or not Path(SYSTEM_PYTHON[0]).exists()):
        pytest.skip("only root can start a sandbox as another user, with the system's Python: NOT tested here")
    if wanted is not None and not trees.reachable(Path(BRIDGE), wanted, wanted, end=0o4):
        pytest.skip(f"user {wanted} cannot read {BRIDGE}: NOT tested here")
    return wanted


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that any user may pass through."""
    with tempfile.TemporaryDirectory(prefix="fettle-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


async def test_out_of_a_sandbox_without_network_only_what_is_allowed_is_reached(
    folder: Path, account: int | None
) -> None:
    kept = peers.Kept()
    path = folder / "egress" / "proxy.sock"
    path.parent.mkdir(mode=0o711)
    async with peers.serving() as server, peers.serving() as other:
        decided = rules.Rules.of(private=[f"{SERVER_NAME}:{server.port}"], never=["code.example.org"])
        api = gateway.ModelApi("/model", f"http://127.0.0.1:{other.port}", "x-api-key", "the-key", "placeholder")
        served = proxy.Proxy(decided, kept.journal(), [api], resolve=peers.resolve_to_loopback)
        async with served.on_socket(path, bridge.PORT):
            if account is not None:
                os.chown(path, account, account)
            process = await bridged(
                *((*PYTHON, "-c", ATTACKS) if account is None else (*SYSTEM_PYTHON, "-c", ATTACKS)),
                *(SERVER_NAME, str(server.port), str(other.port)),
                path="/run/proxy.sock",
                port=bridge.PORT,
                before=isolated(path),
                account=account,
            )
            code, out, err = await ended(process)
    found = dict(line.split(" ", 1) for line in out.decode().splitlines())
    assert (code, err) == (0, b"")
    assert found == {
        "direct": "ConnectionRefusedError",
        "metadata": "OSError",
        "dns": "gaierror",
        "udp": "OSError",
        "allowed": "200",
        "case": "200",
        "port": "403",
        "elsewhere": "403",
        "literal": "403",
        "decimal": "403",
        "mapped": "403",
        "idn": "400",
        "forge": "403",
        "model": "200",
        "files": "403",
    }
    assert len(server.requests) == 2
    assert [request.headers["x-api-key"] for request in other.requests] == ["the-key"]
    assert kept.totals_are(allowed=3, refused=8)


async def test_a_signal_from_outside_reaches_the_program_in_its_sandbox(tmp_path: Path) -> None:
    """bubblewrap passes no signal on; the processes inside are seen from outside all the same."""
    path = tmp_path / "egress" / "proxy.sock"
    async with proxy.Proxy(rules.Rules(), peers.Kept().journal()).on_socket(path, bridge.PORT):
        text = (
            "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(9))\nprint('ready', flush=True)\nsignal.pause()"
        )
        process = await bridged(*script(text), path="/run/proxy.sock", port=bridge.PORT, before=isolated(path))
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        inner = [each.pid for each in proc.tree(process.pid) if BRIDGE in _command(each.pid)]
        os.kill(max(inner), signal.SIGTERM)
        assert (await ended(process))[0] == 9


def _command(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return command[3] if len(command) > 3 and command[0] == sys.executable else ""
