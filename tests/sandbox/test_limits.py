"""What a program cannot take, and that it ends: bombs of every kind on every level, with a worker that is root and one
that is not. Every level holds these limits, with the kernel's help where there is some."""

import asyncio
import time

import pytest

from sandbox import limits
from tests.sandbox import cells

pytestmark = pytest.mark.slow


async def test_a_fork_bomb_is_bounded_and_leaves_nothing(cell: cells.Cell) -> None:
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


MEMORY_THAT_IS_NO_PROCESSES_OWN = {
    "shared": """
import mmap
held = []
for size in range(16, 800, 16):
    held.append(mmap.mmap(-1, 16 << 20))
    held[-1].write(b"x" * (16 << 20))
    print(size, flush=True); time.sleep(0.02)
""",
    "in files that no process maps": """
import os
held = []
for size in range(3, 800, 3):
    held.append(os.memfd_create("x"))
    os.write(held[-1], b"x" * (3 << 20))
    print(size, flush=True)
""",
}


@pytest.mark.parametrize("kind", MEMORY_THAT_IS_NO_PROCESSES_OWN)
async def test_memory_that_is_shared_or_in_files_is_counted_too(cell: cells.Cell, kind: str) -> None:
    done = await cell.run(f"import time\n{MEMORY_THAT_IS_NO_PROCESSES_OWN[kind]}\ntime.sleep(15)")
    assert "256 MiB" in done.status.exceeded
    assert not done.timed_out
    assert cell.survivors() == []


async def test_files_without_a_name_do_not_fill_the_disk(cell: cells.Cell) -> None:
    """A walk through the directories does not see them."""
    code = """
import os, time
held = []
for _ in range(30):
    held.append(open("file", "wb", buffering=0)); os.unlink("file")
    held[-1].write(b"x" * (3 << 20))
    time.sleep(0.02)
time.sleep(15)
"""
    done = await cell.run(code)
    assert "its directories have grown by" in done.status.exceeded
    assert "its limit is 32 MiB" in done.stderr
    assert cell.survivors() == []


async def test_no_file_grows_without_end(cell: cells.Cell) -> None:
    code = (
        cells.TRY
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
