import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cli import sample
from sandbox import proc
from tests.e2e import command
from tests.e2e.test_up import ports_kept
from workers import connection

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]


def test_demo_takes_an_issue_to_its_merge_and_leaves_nothing_running(tmp_path: Path) -> None:
    """The first minute with Fettle: if this breaks, nobody sees the rest."""
    demo = _demo("--json", TMPDIR=str(tmp_path))
    started = _identities_when_ready(demo, tmp_path)
    out, said = demo.communicate(timeout=150)
    assert demo.returncode == 0, said
    result = json.loads(out)
    assert result["outcome"] == "merged"
    assert result["issue"].startswith(f"{result['forge_url']}/demo/tinytax/issues/")
    assert result["pull_request"].startswith(f"{result['forge_url']}/demo/tinytax/pull/")
    assert len(result["head_sha"]) == len(result["merge_sha"]) == 40
    assert result["head_sha"] != result["merge_sha"]
    assert {"received", "implementing", "reviewing", "awaiting_ci", "merging"} <= {p["name"] for p in result["phases"]}
    assert all(phase["seconds"] >= 0 for phase in result["phases"])
    assert 20 < result["history_events"] <= 150
    assert "/namespaces/default/workflows/issue%2Fdemo%2Ftinytax%2F1/" in result["temporal_ui"]
    assert not any(map(proc.is_alive, started.values()))
    assert command.mentioning(str(tmp_path)) == []
    assert list(tmp_path.glob("fettle-demo-*")) == []


@pytest.mark.slow
def test_kept_demo_goes_on_and_continues_after_it_was_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    try:
        done = command.fettle("demo", "--keep", "--json", "--state", str(state), seconds=150)
        assert done.returncode == 0, done.stderr
        up = json.loads((state / "up.json").read_text())
        assert f"kill {up['pid']}" in done.stderr
        assert set(command.identities(state)) == {"temporal", "devforge", "control", "agents", "web"}
        shown = command.fettle("status", "demo/tinytax#1", "--json", FETTLE_STATE_DIR=str(state))
        assert shown.returncode == 0, shown.stderr
        assert "done" in shown.stdout
    finally:
        _stop(state)
    again = command.Up(state)
    try:
        assert ports_kept(up["forge_url"], again.ready()["forge_url"])
        shown = command.fettle("status", "demo/tinytax#1", "--json", FETTLE_STATE_DIR=str(state))
        assert "done" in shown.stdout, shown.stderr
    finally:
        again.end()


@pytest.mark.slow
def test_interrupted_demo_cleans_up(tmp_path: Path) -> None:
    demo = _demo(TMPDIR=str(tmp_path))
    try:
        started = _identities_when_ready(demo, tmp_path)
        assert demo.stderr
        assert any("implementing" in line for line in demo.stderr)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=60)
        assert demo.returncode == 130, said
    finally:
        demo.kill()
        demo.communicate()
    assert not any(map(proc.is_alive, started.values()))
    # A git that a part had just started is no part: it comes to its end by itself.
    assert command.within(5, lambda: command.mentioning(str(tmp_path)) == [])
    assert list(tmp_path.glob("fettle-demo-*")) == []


@pytest.mark.slow
def test_killed_demo_takes_its_installation_down(tmp_path: Path) -> None:
    demo = _demo(TMPDIR=str(tmp_path))
    try:
        started = _identities_when_ready(demo, tmp_path)
    finally:
        demo.kill()
        demo.communicate()
    assert command.within(45, lambda: not any(map(proc.is_alive, started.values())))
    assert command.within(5, lambda: command.mentioning(str(tmp_path)) == [])


def _demo(*options: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", *options],
        env=command.environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _identities_when_ready(demo: subprocess.Popen[str], folder: Path) -> dict[str, proc.Identity]:
    """Every process of the demo; also sees that it says what its agent is."""
    assert demo.stderr
    assert "plays a recorded fix; no model is called" in demo.stderr.readline()
    assert any("the repository is being prepared" in line for line in demo.stderr)
    (state,) = folder.glob("fettle-demo-*")
    started = command.identities(state)
    assert set(started) == {"temporal", "devforge", "control", "agents", "web"}
    return started


def _stop(state: Path) -> None:
    """End what a kept demo left, exactly that process."""
    left = command.identities(state)
    up = connection.read_up(state) or {}
    if identity := proc.identity(up["pid"]) if up.get("pid") else None:
        proc.send(identity, signal.SIGTERM)
        assert command.within(50, lambda: not proc.is_alive(identity))
    assert not any(map(proc.is_alive, left.values()))


@pytest.mark.slow
def test_run_survives_the_kill_of_every_process_and_ends_in_the_same_merge(tmp_path: Path) -> None:
    """The promise: a run survives its host. Nothing that was done is done again."""
    state = tmp_path / "state"
    demo = _demo("--keep", "--json", "--state", str(state))
    again = None
    try:
        assert demo.stderr
        assert any("agent: I reproduce the report first" in line for line in demo.stderr)
        before = command.identities(state)
        up = connection.read_up(state) or {}
        supervisor = proc.identity(up["pid"])
        assert supervisor
        proc.send(supervisor, signal.SIGKILL)
        assert command.within(5, lambda: not any(map(proc.is_alive, before.values())))
        again = command.Up(
            state, FETTLE_SCRIPTED=str(sample.script()), FETTLE_CI_POLL_SECONDS="2", FETTLE_SANDBOX="none"
        )
        forge_url = again.ready()["forge_url"]
        out, said = demo.communicate(timeout=120)
        assert demo.returncode == 0, said
        assert json.loads(out)["outcome"] == "merged"
        pulls = httpx.get(f"{forge_url}/repos/demo/tinytax/pulls", params={"state": "all"}, trust_env=False).json()
        assert [pull["merged_at"] is not None for pull in pulls] == [True]
    finally:
        demo.kill()
        demo.communicate()
        if again is not None:
            again.end()
