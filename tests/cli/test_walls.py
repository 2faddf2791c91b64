"""A command with an installation of its own: who is confined by what, in words that are true."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import failures, walls
from sandbox import environment
from tests.cli.world import say
from workers import confinement, settings

NEEDS_BUBBLEWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed on this machine"
)


@pytest.fixture
def without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with the programs of this machine, and no bubblewrap."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "sleep", "git"):
        (programs / name).symlink_to(shutil.which(name) or "/bin/sh")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(environment, "DEFAULT_PATH", str(programs))


@NEEDS_BUBBLEWRAP
async def test_a_script_of_our_own_is_confined_where_that_works() -> None:
    assert await walls.for_our_own(settings.load()) == ("bubblewrap", "sandbox bubblewrap")


@pytest.mark.usefixtures("without_bubblewrap")
async def test_a_script_of_our_own_runs_without_a_sandbox_and_says_so() -> None:
    found = await walls.for_our_own(settings.load())
    assert found.level == "none"
    assert found.words == "sandbox none: bwrap is not in the PATH; the agent only plays a script"


@pytest.mark.usefixtures("without_bubblewrap")
async def test_a_model_does_not_run_without_a_sandbox_unless_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(failures.Failed, match="FETTLE_SANDBOX=none runs it with all your rights"):
        await walls.for_a_model(settings.load())
    monkeypatch.setenv("FETTLE_SANDBOX", "none")
    assert (await walls.for_a_model(settings.load())).level == "none"


async def test_what_was_said_is_taken_for_a_script_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_SANDBOX", "none")
    assert await walls.for_our_own(settings.load()) == ("none", "sandbox none, as FETTLE_SANDBOX says")


async def test_a_level_that_was_asked_for_and_does_not_hold_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose agent host claims no run would be waited for until the time is over."""
    monkeypatch.setenv("FETTLE_SANDBOX", "container")
    with pytest.raises(failures.Failed, match=r"FETTLE_SANDBOX is container, which does not work .*; without"):
        await walls.for_our_own(settings.load())


def test_a_demo_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {**os.environ, "FETTLE_SANDBOX": "container", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "cli.main", "demo"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FETTLE_SANDBOX is container, which does not work on this machine" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_installation_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FETTLE_SANDBOX_READ_ONLY", f"{tmp_path}:/opt/tools")
    monkeypatch.setenv("FETTLE_SANDBOX_MEMORY_MEBIBYTES", "512")
    known = settings.load()
    for name, value in walls.variables(known, walls.Walls("none", "")).items():
        monkeypatch.setenv(name, value)
    again = settings.load()
    assert again == known.model_copy(update={"sandbox": "none"})
    assert confinement.config(again).read_only == (tmp_path, Path("/opt/tools"))
    assert confinement.rlimits(again).memory_mebibytes == 512


def test_a_relative_tool_chain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_SANDBOX_READ_ONLY", "/opt/tools:tools")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    assert "'tools' is no absolute path" in say("doctor", "--json").out


def rows(found: object) -> dict[str, dict[str, str]]:
    assert isinstance(found, list)
    return {check["name"]: check for check in found if check["name"].startswith("sandbox ")}


def doctor(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    return rows(say("doctor", "--json").json)


@NEEDS_BUBBLEWRAP
def test_the_doctor_has_a_row_for_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor(monkeypatch)
    assert list(found) == ["sandbox bubblewrap", "sandbox user", "sandbox container", "sandbox none"]
    assert "is set; works" in found["sandbox bubblewrap"]["detail"]
    assert found["sandbox bubblewrap"]["level"] == ("warn" if os.geteuid() == 0 else "ok")


@pytest.mark.usefixtures("without_bubblewrap")
def test_a_level_that_does_not_work_fails_where_agents_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor(monkeypatch)["sandbox bubblewrap"]["level"] == "warn"
    (tmp_path / "state" / "host").mkdir(parents=True)
    (tmp_path / "state" / "host" / "host-id").write_text("here\n")
    found = doctor(monkeypatch)["sandbox bubblewrap"]
    assert found["level"] == "fail"
    assert "bwrap is not in the PATH" in found["detail"]
    assert "this host starts no agent" in found["next"]


def test_no_sandbox_is_a_warning_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_SANDBOX", "none")
    found = doctor(monkeypatch)["sandbox none"]
    assert found["level"] == "warn"
    assert "agents have every right of this account" in found["detail"]
