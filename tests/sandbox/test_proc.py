import os
import subprocess
import sys
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
