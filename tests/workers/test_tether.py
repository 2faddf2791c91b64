import os
import signal
import subprocess
import sys
import time

from sandbox import proc
from workers import tether

PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()), sys.argv[2], sys.executable, "-c",
    "import time; print('up', flush=True); time.sleep(600)"], stdout=subprocess.PIPE, text=True, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def _tethered(number: signal.Signals) -> tuple[subprocess.Popen[str], proc.Identity]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tether.__file__, str(int(number))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    identity = proc.identity(int(parent.stdout.readline()))
    assert identity
    return parent, identity


def test_program_ends_with_its_killed_parent_though_it_leads_a_session_of_its_own() -> None:
    parent, child = _tethered(signal.SIGKILL)
    assert proc.is_alive(child)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 5
    while proc.is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not proc.is_alive(child)


def test_program_whose_parent_is_gone_is_not_started() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", tether.__file__, str(os.getppid()), "9", sys.executable, "-c", "print('ran')"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ended before" in done.stderr
    assert not done.stdout


def test_program_that_does_not_exist_is_said_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), "9", "/no/such/program"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "/no/such/program cannot be started: No such file or directory\n"
