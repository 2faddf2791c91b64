import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import status_board
from domain import errors
from sandbox import proc
from workers import children, connection, state_directory, supervisor

ADDRESSES = supervisor.Addresses("127.0.0.1:1", "", "", "")
SLEEPER = "import signal, time\nprint('{\"ready\": true}', flush=True)\ntime.sleep(600)"


class Installation:
    """Supervisors of one state directory, each a process; none outlives the test."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.stand_in_installation", str(self.state)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def ready(self) -> subprocess.Popen[str]:
        process = self.start()
        assert process.stdout
        assert process.stdout.readline().startswith("ready")
        return process

    def up(self) -> dict[str, object]:
        return connection.read_up(self.state) or {}

    def identities(self) -> dict[str, proc.Identity]:
        up = json.loads((self.state / connection.UP_FILE).read_text())
        return {name: proc.Identity(pid, up["started"][name]) for name, pid in up["processes"].items()}

    def order(self) -> list[str]:
        return (self.state / "order").read_text().splitlines()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "state")
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_stages_start_in_order_and_stop_in_reverse(installation: Installation) -> None:
    process = installation.ready()
    assert installation.order()[0] == "start first"
    assert set(installation.up()["processes"]) == {"first", "second", "third"}  # type: ignore[call-overload]  # JSON
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    *later, last = installation.order()[3:]
    assert (sorted(later), last) == (["stop second", "stop third"], "stop first")
    assert installation.up()["pid"] is None
    assert installation.up()["processes"] == {}


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_killed_child_is_restarted_and_recorded(installation: Installation, name: str) -> None:
    installation.ready()
    before = installation.identities()
    os.kill(before[name].pid, signal.SIGKILL)
    assert within(10, lambda: installation.identities().get(name) not in {None, before[name]})
    after = installation.identities()
    assert proc.is_alive(after[name])
    assert {n: i for n, i in after.items() if n != name} == {n: i for n, i in before.items() if n != name}
    assert "was ended by SIGKILL" in (installation.state / "logs" / "supervisor.log").read_text()


def test_killed_supervisor_takes_its_children_down_and_the_same_command_continues(installation: Installation) -> None:
    process = installation.ready()
    first = installation.identities()
    process.kill()
    process.wait()
    assert within(5, lambda: not any(map(proc.is_alive, first.values())))
    installation.ready()
    second = installation.identities()
    assert set(second) == set(first)
    assert all(map(proc.is_alive, second.values()))


def test_second_instance_is_refused_and_told_who_holds_the_directory(installation: Installation) -> None:
    process = installation.ready()
    with (
        pytest.raises(state_directory.AlreadyRunning) as refused,
        state_directory.lock(installation.state, "fettle up"),
    ):
        pass
    assert refused.value.pid == process.pid
    assert refused.value.exit_code == 3
    assert f"kill {process.pid}" in str(refused.value)
    assert "--state" in str(refused.value)


def test_leftover_of_a_killed_supervisor_is_ended_only_when_pid_and_start_time_match(tmp_path: Path) -> None:
    state = state_directory.prepare(tmp_path)
    ours, other = (subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEPER], stdout=subprocess.PIPE) for _ in "12")
    try:
        for process in (ours, other):
            assert process.stdout
            process.stdout.readline()
        identity = proc.identity(ours.pid)
        assert identity
        up = {
            "processes": {"control": ours.pid, "web": other.pid},
            "started": {"control": identity.started, "web": 1},
            "boot_id": proc.boot_id(),
        }
        state_directory.write_json(state / connection.UP_FILE, up)
        assert supervisor.end_leftovers(state) == ["control"]
        assert ours.wait(5) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.communicate()


def _spec(name: str, code: str, **options: float) -> children.Spec:
    return children.Spec(name, (sys.executable, "-I", "-S", "-c", code), **options)  # type: ignore[arg-type]  # floats


@pytest.fixture
async def stop() -> asyncio.Event:
    return asyncio.Event()


async def test_child_that_never_becomes_ready_fails_the_start_with_its_last_words(
    tmp_path: Path, stop: asyncio.Event
) -> None:
    state = state_directory.prepare(tmp_path)
    stages = [[_spec("good", SLEEPER)], [_spec("bad", "import sys; sys.exit('no database at /x')")]]
    made = supervisor.Supervisor(state, ADDRESSES, stages)
    with pytest.raises(children.StartFailed) as failed:
        await made.serve(stop)
    assert failed.value.name == "bad"
    assert "ended with code 1, 3 times" in str(failed.value)
    assert "no database at /x" in str(failed.value)
    assert str(state / "logs" / "bad.log") in str(failed.value)
    assert [c.state for c in made.members] == [children.State.STOPPED] * 2


async def test_child_that_is_silent_fails_the_start_in_time(tmp_path: Path, stop: asyncio.Event) -> None:
    state = state_directory.prepare(tmp_path)
    made = supervisor.Supervisor(state, ADDRESSES, [[_spec("mute", "import time; time.sleep(600)", ready_seconds=0.3)]])
    with pytest.raises(children.StartFailed, match=r"mute was not ready after 0\.3 s"):
        await made.serve(stop)
    assert made.view()["processes"] == {}


async def test_what_a_ready_child_cannot_do_is_told_where_people_look(
    tmp_path: Path, stop: asyncio.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    state = state_directory.prepare(tmp_path)
    lame = SLEEPER.replace("true}", 'true, "but": "claims no run, it has no sandbox"}')
    seen: list[dict[str, object]] = []
    with status_board.Board(as_json=False) as board:

        def observe(view: supervisor.Supervisor) -> None:
            board.show(view)
            if view.ready:
                seen.append(view.view())
                stop.set()

        await supervisor.Supervisor(state, ADDRESSES, [[_spec("good", SLEEPER), _spec("lame", lame)]], observe).serve(
            stop
        )
    assert seen[0]["notes"] == {"lame": "claims no run, it has no sandbox"}
    told = capsys.readouterr().err
    assert "lame is ready: claims no run, it has no sandbox\n" in told
    assert "everything runs, with what is said above of lame, state in" in told
    assert "everything is ready" not in told


async def test_child_that_ignores_the_request_to_stop_is_killed_after_its_grace(
    tmp_path: Path, stop: asyncio.Event
) -> None:
    state = state_directory.prepare(tmp_path)
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER
    found: list[proc.Identity] = []

    def observe(view: supervisor.Supervisor) -> None:
        if view.ready and view.members[0].identity:
            found.append(view.members[0].identity)
            stop.set()

    made = supervisor.Supervisor(state, ADDRESSES, [[_spec("stubborn", stubborn, grace_seconds=0.3)]], observe)
    began = time.monotonic()
    await made.serve(stop)
    assert time.monotonic() - began >= 0.3
    assert found
    assert not proc.is_alive(found[0])


async def test_what_a_child_leaves_behind_delays_neither_its_restart_nor_the_stop(
    tmp_path: Path, stop: asyncio.Event
) -> None:
    """A process in a session of its own, as a sandbox starts them, keeps the child's stdout open."""
    state = state_directory.prepare(tmp_path / "state")
    leaving = f"""
import pathlib, subprocess, sys, time
left = subprocess.Popen(["sleep", "600"], start_new_session=True)
lives = pathlib.Path({str(tmp_path / "lives")!r})
with lives.open("a") as file:
    print(left.pid, file=file)
print('{{"ready": true}}', flush=True)
if len(lives.read_text().split()) == 1:
    sys.exit(1)
time.sleep(600)
"""
    made = supervisor.Supervisor(
        state,
        ADDRESSES,
        [[_spec("leaver", leaving)]],
        lambda seen: stop.set() if seen.ready and seen.members[0].restarts else None,
    )
    try:
        async with asyncio.timeout(60):  # a tenth of what is left behind
            await made.serve(stop)
        assert made.members[0].restarts == 1
    finally:
        for pid in map(int, (tmp_path / "lives").read_text().split()):
            os.kill(pid, signal.SIGKILL)


async def test_children_of_one_stage_stop_together(tmp_path: Path, stop: asyncio.Event) -> None:
    """Each of these ends only when the other one was asked too: a stop takes as long as the slowest, not as all."""
    together = """
import pathlib, signal, sys, time
own, other = map(pathlib.Path, sys.argv[1:])
def asked(*_):
    own.touch()
    while not other.exists():
        time.sleep(0.01)
    own.with_suffix(".ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, asked)
print('{"ready": true}', flush=True)
time.sleep(600)
"""
    paths = [str(tmp_path / "left"), str(tmp_path / "right")]
    stage = [
        children.Spec(Path(own).name, (sys.executable, "-I", "-S", "-c", together, own, other))
        for own, other in (paths, reversed(paths))
    ]
    made = supervisor.Supervisor(
        state_directory.prepare(tmp_path / "state"), ADDRESSES, [stage], lambda seen: stop.set() if seen.ready else None
    )
    await made.serve(stop)
    assert sorted(path.name for path in tmp_path.glob("*.ended")) == ["left.ended", "right.ended"]


def test_a_directory_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ConfigurationError, match="--state"):
        state_directory.prepare(tmp_path / "file" / "state")


def test_secrets_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    state = state_directory.prepare(tmp_path / "state")
    path = state_directory.secret(state, "webhook", "whs_")
    made = path.read_text()
    assert made.startswith("whs_")
    assert state_directory.secret(state, "webhook", "whs_").read_text() == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
