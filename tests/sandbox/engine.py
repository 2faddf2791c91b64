"""A real container engine, where one is here: found, tried, and given an image that is made of this host's programs."""

import atexit
import functools
import io
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox import container

PYTHON = Path("/usr/bin/python3")
_PROGRAMS = ("sh", "env", "cat", "sleep", "touch", "true", "unshare", "git")
_FOLDERS = ("etc", "tmp", "var/tmp", "proc", "sys", "dev", "run", "root", "home", "opt", "srv", "mnt", "var/log")
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_LEFT_OUT = re.compile(
    r"/(?:__pycache__|test|tests|idlelib|tkinter|ensurepip|lib2to3|dist-packages|config-[^/]*)(?:/|$)"
)
_ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""As every start of the level has them: an engine's own may be more than it can give."""
_SECONDS = 120


def client() -> str:
    """The engine that the tests use: FETTLE_TEST_ENGINE, or the first one that is installed; empty: there is none."""
    named = os.environ.get("FETTLE_TEST_ENGINE", "")
    return next((path for name in ((named,) if named else container.ENGINES) if (path := shutil.which(name))), "")


@functools.cache
def environment(uid: int) -> dict[str, str]:
    """Of the engine's client, run by that user: one's own, or one with a home where nothing is configured."""
    if uid == os.geteuid():
        return dict(os.environ)
    home = Path(tempfile.mkdtemp(prefix="fettle-engine-"))
    (home / "run").mkdir(mode=0o700)
    for each in (home, home / "run"):
        os.chown(each, uid, uid)
    found = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
    atexit.register(_remove_home, uid, home)
    return found


def _remove_home(uid: int, home: Path) -> None:
    with suppress(LookupError):  # podman's own way to end the process that holds a user's namespace
        _told(uid, [client(), "system", "migrate"])
    shutil.rmtree(home, ignore_errors=True)


@functools.cache
def image(uid: int) -> str:
    """The image that the attacks of a user's run in: FETTLE_TEST_IMAGE, or one made here without any registry.

    Raises:
        LookupError: no engine is here, or it starts no container; the text has its own words.
    """
    engine = client()
    if not engine:
        raise LookupError("no container engine is installed")
    name = os.environ.get("FETTLE_TEST_IMAGE", "")
    if not name:
        name = f"fettle-test:{os.getpid()}"
        _told(uid, [engine, "import", "-", name], archive())
        atexit.register(_remove_image, uid, name)
    _told(uid, [engine, "run", "--rm", "--network", "none", *_ULIMITS, name, "true"])
    return name


def _remove_image(uid: int, name: str) -> None:
    with suppress(LookupError):
        _told(uid, [client(), "rmi", "--force", name])


def _told(uid: int, argv: list[str], stdin: bytes = b"") -> None:
    other: dict[str, Any] = {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=_SECONDS, env=environment(uid), cwd="/", **other
        )
    except subprocess.TimeoutExpired:
        raise LookupError(f"`{' '.join(argv[:2])}` took longer than {_SECONDS} s") from None
    if done.returncode != 0:
        raise LookupError(f"`{' '.join(argv[:2])}` says: {done.stderr.decode(errors='replace').strip()[-300:]}")


def archive() -> bytes:
    """A root file system as an archive: the system's Python, a few programs, and the libraries of all of them."""
    if not PYTHON.exists():
        raise LookupError(f"an image is made of the system's Python, and there is no {PYTHON}")
    programs = [Path(found) for name in _PROGRAMS if (found := shutil.which(name, path="/usr/bin:/bin"))]
    wanted = {*programs, PYTHON, *_standard_library()}
    wanted |= {library for each in wanted if each.is_file() for library in _libraries(each.resolve())}
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w") as archive:
        for name in _FOLDERS:
            archive.addfile(_entry(name, tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755))
        passwd = _entry("etc/passwd", tarfile.REGTYPE, 0o644)
        passwd.size = len(_PASSWD)
        archive.addfile(passwd, io.BytesIO(_PASSWD.encode()))
        for name in ("bin", "lib", "lib64", "sbin"):
            if Path("/", name).is_symlink():
                link = _entry(name, tarfile.SYMTYPE, 0o777)
                link.linkname = os.readlink(f"/{name}")
                archive.addfile(link)
        for path in sorted(wanted):
            real = path.resolve()
            archive.add(real, _placed(path), recursive=False, filter=_of_root)
    return kept.getvalue()


def _placed(path: Path) -> str:
    """Where it goes: below the real folder, since an archive may not write through a link."""
    return str(path.parent.resolve() / path.name).lstrip("/")


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode = kind, mode
    return made


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode &= 0o777  # no program of the image gives a right that its caller has not
    return entry


def _standard_library() -> Iterator[Path]:
    asked = subprocess.run(
        [PYTHON, "-I", "-S", "-c", "import os; print(os.path.dirname(os.__file__))"], capture_output=True, text=True
    )
    top = Path(asked.stdout.strip() or sysconfig.get_path("stdlib"))
    for path in top.rglob("*"):
        if path.is_file() and not _LEFT_OUT.search(str(path)):
            yield path


def _libraries(path: Path) -> Iterable[Path]:
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", said)]
