import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sandbox import proc


def test_processes_are_found_by_where_they_work(tmp_path: Path) -> None:
    """An orphan of a killed launcher hangs anywhere in the tree; its directory still tells whose it is."""
    inside, beside = tmp_path / "run", tmp_path / "run-2"
    (inside / "deep").mkdir(parents=True)
    beside.mkdir()
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    places = (inside, inside / "deep", beside)
    started = [subprocess.Popen(command, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for place in places]
    try:
        for each in started:
            assert each.stdout
            each.stdout.readline()
        assert {found.pid for found in proc.working_in(inside)} == {started[0].pid, started[1].pid}
        assert {found.pid for found in proc.working_in(beside, inside / "deep")} == {started[1].pid, started[2].pid}
        os.rmdir(inside / "deep")
        assert started[1].pid in {found.pid for found in proc.working_in(inside)}
    finally:
        for each in started:
            each.communicate(timeout=20)


def test_a_stopped_program_is_found_below_its_wrappers_and_a_stopped_job_of_it_is_not() -> None:
    # Eldest is who began in an earlier tick of the kernel's clock; in the same tick the numbers decide, which may wrap.
    script = "sh -c 'sleep 60 & sleep 0.1; sleep 61 & echo job $! ; wait' & echo program $! ; wait"
    wrapper = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert wrapper.stdout
        said = dict(wrapper.stdout.readline().split() for _ in range(2))  # either may speak first
        program, job = proc.identity(int(said["program"])), proc.identity(int(said["job"]))
        assert program is not None
        assert job is not None
        assert proc.parent(job.pid) == program.pid
        assert proc.parent(program.pid) == wrapper.pid
        assert proc.stopped_under(wrapper.pid) is None
        os.kill(job.pid, signal.SIGSTOP)
        _until_state(job.pid, "T")
        assert proc.stopped_under(wrapper.pid) is None
        os.kill(program.pid, signal.SIGSTOP)
        _until_state(program.pid, "T")
        assert proc.stopped_under(wrapper.pid) == program
    finally:
        for each in proc.tree(wrapper.pid):
            proc.send(each, signal.SIGKILL)
        wrapper.kill()
        wrapper.communicate(timeout=20)
    assert proc.stopped_under(wrapper.pid) is None
    assert proc.parent(wrapper.pid) == 0


def test_a_stopped_program_is_found_below_an_engines_monitor_and_not_below_its_client() -> None:
    """podman's client has no children; its monitor, younger than it, has the container."""
    monitor = "open('/proc/self/comm', 'w').write('conmon'); import subprocess; subprocess.run(['sleep', '61'])"
    script = f'sleep 60 & sleep 0.1; {sys.executable} -S -c "{monitor}" & echo $! ; wait'
    launcher = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert launcher.stdout
        below = proc.identity(int(launcher.stdout.readline()))
        assert below is not None
        until = time.monotonic() + 10
        while not (found := proc.tree(below.pid)):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert proc.stopped_under(launcher.pid) is None
        os.kill(found[0].pid, signal.SIGSTOP)
        _until_state(found[0].pid, "T")
        assert proc.stopped_under(launcher.pid) == found[0]
    finally:
        for each in proc.tree(launcher.pid):
            proc.send(each, signal.SIGKILL)
        launcher.kill()
        launcher.communicate(timeout=20)


def _until_state(pid: int, state: str) -> None:
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < until
        time.sleep(0.01)
