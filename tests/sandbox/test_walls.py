"""Every attack of the list, for real, on every level that claims to stop it, with a worker that is root and one that
is not."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import limits, process
from sandbox.spec import Wall
from tests.sandbox import cells

TRY = """
import json, os, sys
def attempt(call):
    try:
        call()
    except OSError as error:
        return error.strerror
    return "DONE"
"""


@pytest.fixture(params=cells.CELLS, ids="-as-".join)
def cell(request: pytest.FixtureRequest) -> Iterator[cells.Cell]:
    with cells.cell(*request.param) as made:
        yield made


async def test_its_own_places_can_be_written_and_programs_run_there(cell: cells.Cell) -> None:
    """A wall that stops the work as well is not one."""
    code = (
        TRY
        + """
import subprocess, tempfile, multiprocessing
open("file", "w").write("x"); os.mkdir("folder"); os.rename("file", "folder/file")
open(os.path.expanduser("~/own"), "w").write("x")
with tempfile.NamedTemporaryFile() as made: made.write(b"x")
open("tool", "w").write("#!/bin/sh\\necho from a tool\\n"); os.chmod("tool", 0o755)
said = subprocess.run(["./tool"], capture_output=True, text=True).stdout
os.openpty()
multiprocessing.Lock()
a, b = __import__("socket").socketpair()
print(json.dumps({"said": said, "cwd": os.getcwd()}))
"""
    )
    done = await cell.run(code)
    assert done.json == {"said": "from a tool\n", "cwd": str(cell.places.work)}, done.stderr
    assert (cell.places.work / "folder" / "file").read_text() == "x"
    assert (cell.places.home / "own").exists()


async def test_only_the_given_environment_is_there(cell: cells.Cell) -> None:
    done = await cell.run("import json, os; print(json.dumps(dict(os.environ)))", env={"OWN": "ä 'quoted' \n two"})
    assert done.json.pop("OWN") == "ä 'quoted' \n two"
    assert done.json.keys() - {"PWD", "SHLVL", "_", "LC_CTYPE", "OLDPWD"} == {"PATH", "HOME", "TMPDIR", "LANG", "OWN"}


async def test_no_descriptor_of_ours_is_inherited(cell: cells.Cell) -> None:
    done = await cell.run("import json, os; print(json.dumps(sorted(map(int, os.listdir('/proc/self/fd')))))")
    assert done.json == [0, 1, 2, 3]  # 3 is the directory that is listed


async def test_nothing_is_written_outside(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.WRITES)
    beside = cell.root / "beside"
    beside.mkdir(mode=0o700)
    os.chown(beside, cell.worker, cell.worker)
    places = [beside, cell.root, cell.places.home.parent, "/usr", "/etc", "/usr/local/bin", "/var/lib", "/root", "/opt"]
    code = (
        TRY
        + """
tries = {p: attempt(lambda p=p: open(p + "/planted", "w").write("x")) for p in json.loads(sys.argv[2])}
os.symlink(json.loads(sys.argv[2])[0], "link")
tries["link"] = attempt(lambda: open("link/planted", "w").write("x"))
tries["remove"] = attempt(lambda: os.rmdir(os.environ["HOME"]))
print(json.dumps(tries))
"""
    )
    done = await cell.run(code, json.dumps([*map(str, places)]))
    assert done.json["remove"] != "DONE"
    tried = {place: how for place, how in done.json.items() if place.startswith("/")}
    # A directory of the sandbox's own may stand in a path's place: what counts is the host's.
    assert [place for place in tried if Path(place, "planted").exists()] == []
    assert [place for place, how in tried.items() if how == "DONE" and not place.startswith("/tmp/")] == []


async def test_the_hosts_files_are_not_read(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.READS)
    operator = cell.root / "operator" / ".ssh"
    operator.mkdir(parents=True)
    key = operator / "id_ed25519"
    key.write_text("SECRET OF THE HOST")
    key.chmod(0o644)
    code = (
        TRY
        + """
def read(place):
    try:
        return open(place).read()
    except OSError: return ""
def names(place):
    try:
        return os.listdir(place)
    except OSError: return []
secret, files, folders = json.loads(sys.argv[2])
ways = [secret, os.getcwd() + "/../../operator/.ssh/id_ed25519", "/proc/1/root" + secret, "/proc/self/root" + secret]
os.symlink(secret, "link")
print(json.dumps({"secret": [way for way in (*ways, "link") if read(way)], "files": [f for f in files if read(f)],
    "names": {folder: names(folder) for folder in folders if names(folder)}}))
"""
    )
    files = [
        "/etc/shadow",
        "/etc/machine-id",
        "/etc/hostname",
        "/var/log/dpkg.log",
        "/proc/1/environ",
        "/etc/gitconfig",
    ]
    folders = ["/root", "/home", str(cell.root), "/var/log", "/opt", "/srv", "/mnt"]
    done = await cell.run(code, json.dumps([str(key), files, folders]))
    assert (done.json["secret"], done.json["files"]) == ([], [])
    names = done.json["names"]
    assert "operator" not in names.pop(str(cell.root), [])
    assert names == {}


async def test_another_run_is_neither_read_nor_changed_nor_ended(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.OTHER_RUNS)
    with cells.cell(cell.level.name, "root" if cell.worker == 0 else "user", cell.root) as other:
        (other.places.work / "plan").write_text("theirs")
        (other.places.work / "plan").chmod(0o666)
        target = other.script("import time; time.sleep(60)", env={"MODEL_KEY": "k-other-run"})
        code = (
            TRY
            + """
place = sys.argv[2]
found = {"read": attempt(lambda: open(place + "/plan").read()),
         "change": attempt(lambda: open(place + "/plan", "a").write("ours")),
         "list": attempt(lambda: os.listdir(place))}
own = os.getpid()
keys, ended = 0, 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        keys += b"k-other-run" in open(f"/proc/{pid}/environ", "rb").read()
    except OSError: pass
    try:
        if sys.argv[3].encode() in open(f"/proc/{pid}/cmdline", "rb").read() and int(pid) != own:
            os.kill(int(pid), 9); ended += 1
    except OSError: pass
print(json.dumps({**found, "keys": keys, "ended": ended}))
"""
        )
        running = None
        if cell.worker == os.geteuid():
            running = await process.ConfinedProcess.start(target)
        try:
            done = await cell.run(code, other.places.work, other.marker)
            assert "DONE" not in {done.json[name] for name in ("read", "change", "list")}
            assert (done.json["keys"], done.json["ended"]) == (0, 0)
            if running is not None:
                assert other.survivors() != []
        finally:
            if running is not None:
                await running.close(0)
        assert (other.places.work / "plan").read_text() == "theirs"


async def test_the_workers_secrets_are_in_no_environment_and_no_memory(cell: cells.Cell) -> None:
    """bubblewrap's --clearenv alone leaves the launcher's variables readable in /proc/1/environ."""
    cells.claims(cell, Wall.WORKER_SECRETS)
    code = (
        TRY
        + """
import base64
word = json.loads(base64.b64decode(sys.argv[2]))["word"].encode()
leaks, memory = [], []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if word in open(f"/proc/{pid}/environ", "rb").read(): leaks.append(pid)
    except OSError: pass
    if int(pid) != os.getpid():
        try:
            open(f"/proc/{pid}/mem", "rb").close(); memory.append(pid)
        except OSError: pass
print(json.dumps({"leaks": leaks, "memory": memory}))
"""
    )
    with cells.bystander(FETTLE_FORGE__TOKEN="ghp_of_the_worker"):
        done = await cell.run(code, cells.encoded({"word": "ghp_of_the_worker"}))
    assert done.json["leaks"] == []
    if cell.level.name == "user" or cells.landlocked():
        assert done.json["memory"] == []


async def test_no_new_namespace_is_made_or_entered(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.NAMESPACES)
    code = """
import ctypes, json, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def child(call):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if call() == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
CLONE = 56 if os.uname().machine == "x86_64" else 220
found = {hex(flag): child(lambda: libc.unshare(flag)) for flag in
    (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x02000000, 0x04000000, 0x08000000, 0x80)}
def clone():
    pid = libc.syscall(CLONE, 0x10000000 | 17, None, None, None, None)
    if pid == 0: os._exit(0)
    return 0 if pid > 0 else 1
found["clone"] = child(clone)
found["clone3"] = libc.syscall(435, struct.pack("<11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88) >= 0
found["setns"] = child(lambda: libc.setns(os.open("/proc/self/ns/net", os.O_RDONLY), 0))
found["mount"] = child(lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
found["chroot"] = child(lambda: libc.chroot(b"."))
print(json.dumps(found))
"""
    done = await cell.run(code)
    assert [name for name, made in done.json.items() if made] == []
    assert (await cell.execute(cell.spec(("unshare", "-U", "true")))).status.exit_code != 0


async def test_calls_that_no_build_needs_are_refused(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.KERNEL)
    code = """
import ctypes, fcntl, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
x = os.uname().machine == "x86_64"
def call(number, *arguments):
    ctypes.set_errno(0); libc.syscall(number, *arguments); return ctypes.get_errno()
found = {"io_uring": call(425, 1, ctypes.create_string_buffer(120)),
         "ptrace": call(101 if x else 117, 0, 0, 0, 0), "bpf": call(321 if x else 280, 0, None, 0),
         "keyctl": call(250 if x else 219, 0, -3, 0), "userfaultfd": call(323 if x else 282, 1),
         "perf": call(298 if x else 241, None, 0, -1, -1, 0),
         "process_vm_readv": call(310 if x else 270, os.getpid(), None, 0, None, 0, 0),
         "clock": call(227 if x else 112, 0, ctypes.create_string_buffer(16)),
         "kexec": call(246 if x else 104, 0, 0, None, 0)}
if x:
    found["of x32"] = call(0x40000000 + 39)
for name, family, kind in (("vsock", 40, 1), ("packet", 17, 3), ("netlink of audit", 16, 3)):
    try:
        socket.socket(family, kind, 9 if family == 16 else 0).close(); found[name] = 0
    except OSError as error: found[name] = error.errno
main, own = os.openpty()
try: fcntl.ioctl(own, 0x5412, b"x"); found["typing"] = 0
except OSError as error: found["typing"] = error.errno
print(json.dumps(found))
"""
    done = await cell.run(code)
    assert {name: number for name, number in done.json.items() if number not in {1, 38, 97}} == {}
    assert done.json["io_uring"] == 38  # as on a kernel without it


async def test_a_unix_socket_of_the_host_is_not_reached(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.HOST_SOCKETS)
    path, name = cell.root / "s", f"\0fettle-{cell.marker}"
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as unnamed:
        named.bind(str(path))
        path.chmod(0o666)
        unnamed.bind(name)
        named.listen()
        unnamed.listen()
        code = (
            TRY
            + """
import socket
def reach(address):
    with socket.socket(socket.AF_UNIX) as trying: trying.settimeout(2); trying.connect(address)
print(json.dumps([attempt(lambda: reach(sys.argv[2])), attempt(lambda: reach("\\0" + sys.argv[3]))]))
"""
        )
        done = await cell.run(code, path, name[1:])
    assert "DONE" not in done.json


async def test_no_network_is_reached_by_address_or_by_name(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.NETWORK)
    with socket.create_server(("127.0.0.1", 0)) as four, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        datagrams.setblocking(False)
        code = (
            TRY
            + """
import socket
def reach(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as trying: trying.settimeout(2); trying.connect(address)
def send(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trying: trying.sendto(b"x", address)
tcp, udp = int(sys.argv[2]), int(sys.argv[3])
found = {"tcp": attempt(lambda: reach(socket.AF_INET, ("127.0.0.1", tcp))),
         "v6": attempt(lambda: reach(socket.AF_INET6, ("::ffff:127.0.0.1", tcp))),
         "elsewhere": attempt(lambda: reach(socket.AF_INET, ("192.0.2.1", 443))),
         "name": attempt(lambda: socket.getaddrinfo("example.com", 443)),
         "dns": attempt(lambda: send(("192.0.2.53", 53)))}
attempt(lambda: send(("127.0.0.1", udp)))
with socket.create_server(("127.0.0.1", 0)) as own: reach(socket.AF_INET, own.getsockname())
print(json.dumps({**found, "interfaces": [name for _, name in socket.if_nameindex() if name != "lo"]}))
"""
        )
        done = await cell.run(code, four.getsockname()[1], datagrams.getsockname()[1], seconds=30)
        with pytest.raises(BlockingIOError):
            datagrams.recv(10)
    interfaces = [
        name for name in done.json.pop("interfaces") if not name.startswith(("tunl", "sit", "gre", "ip", "erspan"))
    ]
    assert interfaces == []
    assert "DONE" not in done.json.values()


async def test_the_proxys_socket_is_the_only_way_out(cell: cells.Cell) -> None:
    """What listens there decides; the program sees a loopback port and cannot put anything in the socket's place."""
    cells.claims(cell, Wall.NETWORK)
    path = cell.root / "proxy" / "a-directory-with-a-name-as-long-as-the-name-of-a-run-may-be" / "s"
    path.parent.mkdir(parents=True)
    for each in (path.parent, path.parent.parent):
        each.chmod(0o711)
    code = (
        TRY
        + """
import socket
with socket.create_connection(("127.0.0.1", 3128), 5) as way: way.sendall(b"ping"); said = way.recv(10).decode()
print(json.dumps({"said": said, "replaced": attempt(lambda: os.unlink(sys.argv[2]))}))
"""
    )
    with socket.socket(socket.AF_UNIX) as proxy:
        proxy.bind(str(path))
        os.chown(path, cell.worker, cell.worker)
        proxy.listen()

        def answer() -> None:
            with proxy.accept()[0] as caller:
                caller.recv(10)
                caller.sendall(b"pong")

        threading.Thread(target=answer, daemon=True).start()
        done = await cell.run(code, path, network=path)
    assert done.json["said"] == "pong", done.stderr
    assert done.json["replaced"] != "DONE"
    assert path.exists()


async def test_a_fork_bomb_is_bounded_and_leaves_nothing(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.PROCESSES)
    code = """
import os, sys, time
made = 0
for _ in range(2000):
    try:
        if os.fork() == 0:
            time.sleep(30); os._exit(0)
        made += 1
    except OSError:
        break
    if made % 20 == 0: time.sleep(0.05)
print(made, flush=True)
os._exit(0)
"""
    done = await cell.run(code)
    if done.status.exceeded:
        assert "its limit is 60" in done.status.exceeded
    else:
        assert 0 < int(done.stdout) <= cells.SMALL.processes
    assert cell.survivors() == []


async def test_a_memory_bomb_is_ended_before_the_host_suffers(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.MEMORY)
    code = """
held = []
while True:
    held.append(bytearray(b"x" * (16 << 20)))
    print(len(held) * 16, flush=True)
    if len(held) > 100: break
"""
    done = await cell.run(code)
    assert int(done.stdout.split()[-1]) <= 256
    assert done.status.exit_code != 0


async def test_a_memory_bomb_of_many_processes_is_ended_too(cell: cells.Cell) -> None:
    """None of them is too large alone. A control group ends one of them, our own watch all of them."""
    cells.claims(cell, Wall.MEMORY)
    code = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b"x" * (100 << 20)); time.sleep(15); os._exit(0)
print(os.WTERMSIG(os.wait()[1]))
os._exit(0)
"""
    done = await cell.run(code, rlimits=cells.SMALL.model_copy(update={"processes": 200}))
    assert done.stdout in {"9\n", ""}
    assert "256 MiB" in done.status.exceeded
    assert "256 MiB" in done.stderr
    assert cell.survivors() == []


async def test_no_file_grows_without_end(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.FILES)
    code = (
        TRY
        + """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def ten_gigabytes():
    with open("big", "wb") as file: file.seek(10 << 30); file.write(b"x"); file.flush()
print(json.dumps(attempt(ten_gigabytes)))
"""
    )
    assert (await cell.run(code)).json == "File too large"
    assert (cell.places.work / "big").stat().st_size == 0


async def test_many_files_do_not_fill_the_disk(cell: cells.Cell) -> None:
    """Nor do they in a directory that is closed whenever somebody could look."""
    cells.claims(cell, Wall.FILES)
    code = """
import os, time
os.mkdir("closed")
for number in range(60):
    os.chmod("closed", 0o700)
    with open(f"closed/{number}", "wb") as file: file.write(b"x" * (1 << 20))
    os.chmod("closed", 0)
    time.sleep(0.03)
time.sleep(15)
"""
    done = await cell.run(code)
    assert "its directories have grown by" in done.status.exceeded
    assert "its limit is 32 MiB" in done.stderr
    assert cell.survivors() == []


async def test_temporary_files_have_a_size(cell: cells.Cell) -> None:
    cells.claims(cell, Wall.FILES)
    if cell.level.name != "bubblewrap":
        pytest.skip(
            f"with the level {cell.level.name} temporary files are part of what the run's directories may grow by"
        )
    code = (
        TRY
        + """
def fill(place):
    for number in range(20):
        with open(f"{place}/{number}", "wb") as file: file.write(b"x" * (1 << 20))
print(json.dumps([attempt(lambda p=p: fill(p)) for p in ("/tmp", "/var/tmp", "/dev/shm", os.environ["TMPDIR"])]))
"""
    )
    assert (await cell.run(code)).json == ["No space left on device"] * 4


async def test_the_clock_ends_what_does_not_end(cell: cells.Cell) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    began = time.monotonic()
    done = await cell.run(code, seconds=1)
    assert done.timed_out
    assert time.monotonic() - began < 10
    assert cell.survivors() == []


async def test_cpu_time_is_limited(cell: cells.Cell) -> None:
    done = await cell.run("while True: pass", rlimits=cells.SMALL.model_copy(update={"cpu_seconds": 1}))
    assert not done.timed_out
    assert done.status.exit_code != 0


SURVIVOR = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(null, fd)
        while True:
            with open("beat", "a") as file: file.write("x")
            time.sleep(0.01)
    os._exit(0)
while not os.path.exists("beat"): time.sleep(0.01)
if sys.argv[2] == "stays": time.sleep(60)
"""


@pytest.mark.parametrize("end", ["ends", "stays"])
async def test_nothing_outlives_the_run(cell: cells.Cell, end: str) -> None:
    """A daemon of its own session that ignores every signal, after a normal end and after a cancel."""
    cells.claims(cell, Wall.SURVIVORS)
    done = await cell.run(SURVIVOR, end, seconds=1.5)
    assert done.timed_out == (end == "stays")
    assert cell.survivors() == []
    assert done.status.left == 0
    size = (cell.places.work / "beat").stat().st_size
    await asyncio.sleep(0.15)  # a survivor writes every 10 ms
    assert (cell.places.work / "beat").stat().st_size == size


async def test_what_is_asked_to_end_may_end_in_its_own_way(cell: cells.Cell) -> None:
    """TERM reaches the program, once, and not only what is around it: it has its grace to save its work."""
    code = """
import os, signal, time
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
while not heard: time.sleep(0.02)
time.sleep(0.3)
open("saved", "w").write(str(len(heard)))
os._exit(3)
"""
    done = await cell.run(code, seconds=1.5, grace_seconds=10)
    assert (done.timed_out, done.status.exit_code, done.status.stopped) == (True, 3, True)
    assert (cell.places.work / "saved").read_text() == "1"


async def test_default_limits_let_ordinary_programs_live(cell: cells.Cell) -> None:
    done = await cell.run("print(sum(range(10)))", rlimits=limits.ProcessLimits())
    assert done.stdout == "45\n", done.stderr
