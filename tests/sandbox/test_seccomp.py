"""The filter's numbers are the kernel's, and its program is one that a kernel takes."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import seccomp

TABLES = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}


@pytest.mark.parametrize("machine", TABLES)
def test_the_numbers_are_those_of_the_kernels_table(machine: str) -> None:
    table = next((path for path in TABLES[machine] if path.exists()), None)
    if table is None:
        pytest.skip(f"the kernel's table of {machine} is not on this machine")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", table.read_text()))
    column = list(TABLES).index(machine)
    known = {**seccomp._REFUSED, **seccomp._ABSENT, "clone": seccomp._CLONE, "clone3": seccomp._CLONE3}
    known |= {"shmget": seccomp._SHMGET, "setsockopt": seccomp._SETSOCKOPT, **seccomp._OTHER_SYSTEM_V}
    known |= {"unshare": seccomp._UNSHARE, "ioctl": seccomp._IOCTL, "socket": seccomp._SOCKET}
    wrong = {name: (pair[column], found.get(name)) for name, pair in known.items() if name in found}
    assert {name: pair for name, pair in wrong.items() if str(pair[0]) != pair[1]} == {}
    assert len(wrong) > 40


@pytest.mark.parametrize("machine", TABLES)
@pytest.mark.parametrize("unix_sockets", [True, False])
@pytest.mark.parametrize("segment", [None, 0, seccomp.SMALL_SEGMENT])
def test_every_jump_lands_inside_and_the_last_word_is_to_allow(
    machine: str, unix_sockets: bool, segment: int | None
) -> None:
    code = seccomp.program(machine=machine, unix_sockets=unix_sockets, segment=segment)
    instructions = list(struct.iter_unpack("<HBBI", code))
    assert len(instructions) < 4096
    for place, (operation, true, false, _) in enumerate(instructions):
        if operation & 0x07 == 0x05:
            assert place + 1 + max(true, false) < len(instructions)
    assert instructions[-1] == (0x06, 0, 0, 0x7FFF0000)


def test_another_architecture_has_no_filter_and_no_level() -> None:
    assert not seccomp.supported("riscv64")
    with pytest.raises(LookupError, match="this machine is riscv64"):
        seccomp.program(machine="riscv64")


@pytest.mark.skipif(not seccomp.supported(), reason="this machine's architecture has no table")
def test_the_kernel_takes_the_filter_and_ordinary_calls_go_on() -> None:
    code = (
        "import os, socket, sys\nfrom sandbox import seccomp\nseccomp.install(seccomp.program(unix_sockets=False))\n"
        "socket.socketpair(); socket.socket(socket.AF_INET); os.listdir('/')\n"
        "import subprocess, threading\nthreading.Thread(target=print).start(); subprocess.run(['true'], check=True)\n"
        "try: socket.socket(socket.AF_UNIX)\nexcept OSError as refused: print(refused.errno)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["97"], done.stderr
