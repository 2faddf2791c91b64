"""What a program cannot reach: every attack of the list, for real, on every level that claims to stop it, with a worker
that is root and one that is not."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from sandbox import process
from sandbox.spec import Wall
from tests.sandbox import cells


async def test_its_own_places_can_be_written_and_programs_run_there(cell: cells.Cell) -> None:
    """A wall that stops the work as well is not one."""
    code = (
        cells.TRY
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
    engines = {"container", "HOSTNAME", "TERM"} if cell.level.name == "container" else set()
    shells = {"PWD", "SHLVL", "_", "LC_CTYPE", "OLDPWD"}
    assert done.json.keys() - shells - engines == {"PATH", "HOME", "TMPDIR", "LANG", "OWN"}


async def test_no_descriptor_of_ours_is_inherited(cell: cells.Cell) -> None:
    done = await cell.run("import json, os; print(json.dumps(sorted(map(int, os.listdir('/proc/self/fd')))))")
    assert done.json == [0, 1, 2, 3]  # 3 is the directory that is listed


async def test_nothing_is_written_outside(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.WRITES)
    beside = walled.root / "beside"
    beside.mkdir(mode=0o700)
    os.chown(beside, walled.worker, walled.worker)
    places = [
        beside,
        walled.root,
        walled.places.home.parent,
        "/usr",
        "/etc",
        "/usr/local/bin",
        "/var/lib",
        "/root",
        "/opt",
    ]
    code = (
        cells.TRY
        + """
tries = {p: attempt(lambda p=p: open(p + "/planted", "w").write("x")) for p in json.loads(sys.argv[2])}
os.symlink(json.loads(sys.argv[2])[0], "link")
tries["link"] = attempt(lambda: open("link/planted", "w").write("x"))
tries["remove"] = attempt(lambda: os.rmdir(os.environ["HOME"]))
print(json.dumps(tries))
"""
    )
    done = await walled.run(code, json.dumps([*map(str, places)]))
    assert done.json["remove"] != "DONE"
    tried = {place: how for place, how in done.json.items() if place.startswith("/")}
    # A directory of the sandbox's own may stand in a path's place: what counts is the host's.
    assert [place for place in tried if Path(place, "planted").exists()] == []
    assert [place for place, how in tried.items() if how == "DONE" and not place.startswith("/tmp/")] == []


async def test_shared_memory_is_the_programs_own_and_has_a_size(walled: cells.Cell) -> None:
    """In the host's anybody may write without end, what lies there stays, and other runs could read it."""
    cells.claims(walled, Wall.WRITES)
    theirs = Path("/dev/shm", f"{walled.marker}-of-the-host")
    theirs.write_text("x")
    theirs.chmod(0o666)
    code = (
        cells.TRY
        + """
def fill():
    for number in range(64):
        with open(f"/dev/shm/{sys.argv[1]}-{number}", "wb") as file: file.write(b"x" * (3 << 20))
print(json.dumps({"seen": os.path.exists(sys.argv[2]), "filled": attempt(fill),
    "left": len(os.listdir("/dev/shm"))}))
"""
    )
    try:
        done = await walled.run(code, theirs)
        left = [name for name in os.listdir("/dev/shm") if walled.marker in name and name != theirs.name]
    finally:
        for each in Path("/dev/shm").glob(f"{walled.marker}*"):
            each.unlink()
    assert (done.json["seen"], left) == (False, [])
    assert done.json["filled"] == "No space left on device"
    assert done.json["left"] <= 3  # of 8 MiB


async def test_the_hosts_files_are_not_read(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.READS)
    operator = walled.root / "operator" / ".ssh"
    operator.mkdir(parents=True)
    key = operator / "id_ed25519"
    key.write_text("SECRET OF THE HOST")
    key.chmod(0o644)
    code = (
        cells.TRY
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
print(json.dumps({"secret": [way for way in (*ways, "link") if read(way)],
    "files": {f: read(f) for f in files if read(f)},
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
    folders = ["/root", "/home", str(walled.root), "/var/log", "/opt", "/srv", "/mnt"]
    done = await walled.run(code, json.dumps([str(key), files, folders]))
    found = done.json
    if walled.level.name == "container":  # an engine gives a container a name of its own in that file
        assert found["files"].pop("/etc/hostname").strip() == "sandbox"
    assert (found["secret"], found["files"]) == ([], {})
    names = found["names"]
    assert "operator" not in names.pop(str(walled.root), [])
    assert names == {}


async def test_another_run_is_neither_read_nor_changed_nor_ended(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.OTHER_RUNS)
    with cells.cell(walled.level.name, "root" if walled.worker == 0 else "user", walled.root) as other:
        (other.places.work / "plan").write_text("theirs")
        (other.places.work / "plan").chmod(0o666)
        target = other.script("import time; time.sleep(60)", env={"MODEL_KEY": "k-other-run"})
        code = (
            cells.TRY
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
        if walled.worker == os.geteuid():
            running = await process.ConfinedProcess.start(target)
        try:
            done = await walled.run(code, other.places.work, other.marker)
            assert "DONE" not in {done.json[name] for name in ("read", "change", "list")}
            assert (done.json["keys"], done.json["ended"]) == (0, 0)
            if running is not None:
                assert other.survivors() != []
        finally:
            if running is not None:
                await running.close(0)
        assert (other.places.work / "plan").read_text() == "theirs"


async def test_the_workers_secrets_are_in_no_environment_and_no_memory(walled: cells.Cell) -> None:
    """bubblewrap's --clearenv alone leaves the launcher's variables readable in /proc/1/environ."""
    cells.claims(walled, Wall.WORKER_SECRETS)
    code = (
        cells.TRY
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
        done = await walled.run(code, cells.encoded({"word": "ghp_of_the_worker"}))
    assert done.json["leaks"] == []
    if walled.level.name == "user" or cells.landlocked():
        assert done.json["memory"] == []


async def test_no_new_namespace_is_made_or_entered(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.NAMESPACES)
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
    done = await walled.run(code)
    assert [name for name, made in done.json.items() if made] == []
    assert (await walled.execute(walled.spec(("unshare", "-U", "true")))).status.exit_code != 0


async def test_calls_that_no_build_needs_are_refused(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.KERNEL)
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
    done = await walled.run(code)
    assert {name: number for name, number in done.json.items() if number not in {1, 38, 97}} == {}
    assert done.json["io_uring"] == 38  # as on a kernel without it


async def test_a_unix_socket_of_the_host_is_not_reached(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.HOST_SOCKETS)
    path, name, log = walled.root / "s", f"\0fettle-{walled.marker}", walled.root / "log"
    with (
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as unnamed,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        named.bind(str(path))
        datagrams.bind(str(log))
        datagrams.setblocking(False)
        for each in (path, log):
            each.chmod(0o666)
        unnamed.bind(name)
        named.listen()
        unnamed.listen()
        code = (
            cells.TRY
            + """
import socket
def reach(address):
    with socket.socket(socket.AF_UNIX) as trying: trying.settimeout(2); trying.connect(address)
def send():  # no socket of its own is needed: an end of a pair has an address to send to in every call
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b"x", sys.argv[4])
def connect():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC); a.connect(sys.argv[4])
tries = [lambda: reach(sys.argv[2]), lambda: reach("\\0" + sys.argv[3]), send, connect]
print(json.dumps([attempt(each) for each in tries]))
"""
        )
        done = await walled.run(code, path, name[1:], log)
        with pytest.raises(BlockingIOError):
            datagrams.recv(10)
    assert "DONE" not in done.json


async def test_no_network_is_reached_by_address_or_by_name(walled: cells.Cell) -> None:
    cells.claims(walled, Wall.NETWORK)
    with socket.create_server(("127.0.0.1", 0)) as four, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        datagrams.setblocking(False)
        code = (
            cells.TRY
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
        done = await walled.run(code, four.getsockname()[1], datagrams.getsockname()[1], seconds=30)
        with pytest.raises(BlockingIOError):
            datagrams.recv(10)
    interfaces = [
        name for name in done.json.pop("interfaces") if not name.startswith(("tunl", "sit", "gre", "ip", "erspan"))
    ]
    assert interfaces == []
    assert "DONE" not in done.json.values()


async def test_the_proxys_socket_is_the_only_way_out(walled: cells.Cell) -> None:
    """What listens there decides; the program sees a loopback port and cannot put anything in the socket's place."""
    cells.claims(walled, Wall.NETWORK)
    path = walled.root / "proxy" / "a-directory-with-a-name-as-long-as-the-name-of-a-run-may-be" / "s"
    path.parent.mkdir(parents=True)
    for each in (path.parent, path.parent.parent):
        each.chmod(0o711)
    code = (
        cells.TRY
        + """
import socket
with socket.create_connection(("127.0.0.1", 3128), 5) as way: way.sendall(b"ping"); said = way.recv(10).decode()
print(json.dumps({"said": said, "replaced": attempt(lambda: os.unlink(sys.argv[2]))}))
"""
    )
    with socket.socket(socket.AF_UNIX) as proxy:
        folder = os.open(path.parent, os.O_PATH)  # TMPDIR may be longer than leaves room for an address
        proxy.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        os.chown(path, walled.worker, walled.worker)
        proxy.listen()

        def answer() -> None:
            with proxy.accept()[0] as caller:
                caller.recv(10)
                caller.sendall(b"pong")

        threading.Thread(target=answer, daemon=True).start()
        done = await walled.run(code, path, network=path)
    assert done.json["said"] == "pong", done.stderr
    assert done.json["replaced"] != "DONE"
    assert path.exists()
