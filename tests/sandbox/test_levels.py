"""A host without a level that holds starts nothing, and says why."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from domain import errors
from sandbox import bubblewrap, environment, landlock, levels, process, unconfined, user_account
from sandbox import spec as spec_
from sandbox.spec import Wall

ROOT = Path(__file__).parents[2]
NEEDS_BUBBLEWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed on this machine"
)


def config(state: Path, **more: object) -> levels.Config:
    return levels.Config(state, dict(os.environ), **more)  # type: ignore[arg-type]


def stand_in(folder: Path, script: str) -> levels.Config:
    """A host whose `bwrap` is a script."""
    program = folder / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    host = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return levels.Config(folder / "state", host)


@NEEDS_BUBBLEWRAP
async def test_bubblewrap_is_tried_and_holds(tmp_path: Path) -> None:
    found = await levels.tried(config(tmp_path), "bubblewrap")
    assert found.why_not == ""
    assert found.level.walls == frozenset(Wall)
    assert ("Landlock" in found.note) or landlock.version() == 0
    assert list(tmp_path.iterdir()) == []


async def test_without_bubblewrap_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "DEFAULT_PATH", "/nonexistent")
    level = await levels.ready(levels.Config(tmp_path / "state", {"PATH": str(tmp_path)}))
    assert "install the package bubblewrap" in level.why_not
    spec = process.Spec(("sh", "-c", "touch ran"), {"PATH": "/usr/bin:/bin"}, tmp_path, level=level)
    with pytest.raises(errors.AgentUnavailable, match="sh was not started, the sandbox does not work: bwrap is not in"):
        await process.capture(spec, seconds=5)
    assert not (tmp_path / "ran").exists()


async def test_a_level_that_lets_something_through_is_found_out(tmp_path: Path) -> None:
    """Whatever a program of that name promises: what is tried through it decides."""
    script = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n'
    script += 'HOME="$PWD" exec env HOME="$PWD" PATH=/usr/bin:/bin "$@"\n'
    found = await levels.tried(stand_in(tmp_path, f"#!/bin/sh\ncd {tmp_path}\n{script}"), "bubblewrap")
    assert "a trial program got through: " in found.why_not
    assert Wall.READS.value in found.why_not or landlock.version() > 0
    assert Wall.NETWORK.value in found.why_not
    spec = process.Spec(("true",), {"PATH": "/usr/bin:/bin"}, tmp_path, level=found.level)
    with pytest.raises(errors.AgentUnavailable, match="the sandbox `bubblewrap` does not work on this host"):
        await process.capture(spec, seconds=5)


async def test_what_bubblewrap_complains_about_is_told(tmp_path: Path) -> None:
    script = "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"
    found = await levels.tried(stand_in(tmp_path, script), "bubblewrap")
    assert "bubblewrap says 'bwrap: setting up uid map: Permission denied'" in found.why_not


@NEEDS_BUBBLEWRAP
def test_a_containers_filter_of_system_calls_is_explained(tmp_path: Path) -> None:
    """The filter is real: the same that confined programs get refuses namespaces, as that of a container engine."""
    code = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom sandbox import levels, seccomp\n"
        "seccomp.install(seccomp.program())\n"
        "found = asyncio.run(levels.tried(levels.Config(Path(sys.argv[1]), dict(os.environ)), 'bubblewrap'))\n"
        "print(found.why_not)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert "bubblewrap says 'bwrap: " in done.stdout, done.stderr
    assert "a filter of system calls is over this process" in done.stdout


@NEEDS_BUBBLEWRAP
async def test_an_older_bubblewrap_confines_without_the_kernels_count(tmp_path: Path) -> None:
    """Before 0.8 it does not know --disable-userns; new namespaces are refused by the filter of calls all the same."""
    real = shutil.which("bwrap")
    script = f"""#!{sys.executable} -ISs
import os, sys
if b"--disable-userns" in os.pread(200, 1 << 20, 0):
    sys.exit("bwrap: Unknown option --disable-userns")
os.execve({real!r}, sys.argv, {{}})
"""
    found = await levels.tried(stand_in(tmp_path, script), "bubblewrap")
    assert found.why_not == ""
    assert isinstance(found.level, bubblewrap.Bubblewrap)
    assert not found.level.disable_userns


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0"}, "sysctl kernel.unprivileged_userns_clone=1"),
        ({"/proc/sys/user/max_user_namespaces": "0"}, "user.max_user_namespaces is 0"),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, "AppArmor restricts user namespaces"),
        ({"/proc/self/status:Seccomp": "2"}, "a filter of system calls is over this process"),
        ({"/proc/self/status:Seccomp": "0"}, "run it by hand"),
    ],
)
def test_each_switch_of_the_kernel_has_its_own_advice(facts: Mapping[str, str], words: str) -> None:
    said = "bwrap: No permissions to create new namespace"
    assert words in bubblewrap.explanation(said, facts)
    assert said in bubblewrap.explanation(said, facts)


def test_a_masked_proc_is_recognised() -> None:
    assert "unmask it" in bubblewrap.explanation(
        "bwrap: Can't mount proc on /newroot/proc: Operation not permitted", {}
    )


async def test_none_is_taken_at_its_word(tmp_path: Path) -> None:
    level = await levels.ready(config(tmp_path, level="none"))
    assert isinstance(level, unconfined.Unconfined)
    assert level.why_not == ""


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("", "set FETTLE_SANDBOX_USER to the name of one"),
        ("no-such-account-here", "this host has no account of that name"),
        ("root", "the worker's own account or root"),
        ("100-200", "must begin at 1000"),
        ("61063-61000", "must begin at 1000"),
    ],
)
async def test_an_account_that_cannot_be_is_refused(tmp_path: Path, user: str, words: str) -> None:
    assert words in (await levels.ready(config(tmp_path, level="user", user=user))).why_not


def test_only_root_can_change_to_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root can change to another account" in user_account.UserAccount.on("61000-61001", tmp_path).why_not


@pytest.mark.skipif(os.geteuid() != 0, reason="the level `user` needs a worker that is root")
async def test_a_state_directory_that_is_closed_to_the_account_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    level = await levels.ready(config(closed / "state", level="user", user="61000-61001"))
    assert "a directory on the way is closed to that account" in level.why_not


async def test_a_container_needs_an_engine_and_an_image(tmp_path: Path) -> None:
    none = levels.Config(tmp_path, {"PATH": str(tmp_path)}, "container", image="image")
    assert "no container engine is in the PATH (podman, docker)" in (await levels.ready(none)).why_not
    (tmp_path / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "podman").chmod(0o755)
    without = levels.Config(tmp_path, {"PATH": str(tmp_path)}, "container")
    assert "set FETTLE_SANDBOX_IMAGE" in (await levels.ready(without)).why_not


def test_every_level_says_what_it_is() -> None:
    made: list[spec_.Level] = [
        bubblewrap.Bubblewrap(why_not="x"),
        user_account.UserAccount(),
        unconfined.Unconfined(),
        levels.Refusing("bubblewrap", "x"),
    ]
    assert {each.name for each in made} <= set(levels.NAMES)
