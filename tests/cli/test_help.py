"""The command line as a product: its help is quick, complete, and imports nothing that it does not need."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cli import catalog
from tests.cli import world

NAMES = [entry.name for entry in catalog.COMMANDS]
HEAVY = ("temporalio", "sqlalchemy", "httpx", "pydantic", "alembic", "starlette")


def work_of(*argv: str) -> float:
    """Seconds of a processor that a command takes: what a busy machine does in between is not counted."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(world.ROOT)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_costs_little_more_than_the_interpreter() -> None:
    """People and completion ask for help all the time: it must not pay for clients that it does not use."""
    bare, asked = [], []
    for _ in range(5):  # in turns, so that a machine that gets slower is so for both
        bare.append(work_of(sys.executable, "-c", "import asyncio, json, tempfile, traceback"))
        asked.append(work_of(sys.executable, "-m", "cli.main", "--help"))
    assert min(asked) < 0.3 + 4 * min(bare)


def test_help_imports_no_command_and_no_client() -> None:
    code = (
        "import sys; from cli import main; main.run(['--help']); "
        f"print([m for m in sys.modules if m.startswith('cli.commands') or m.split('.')[0] in {HEAVY}],"
        " file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=world.ROOT)
    assert found.stderr.strip() == "[]"


def test_help_lists_every_command_and_group() -> None:
    found = world.spawn("--help")
    assert found.code == 0
    for name in {name.split()[0] for name in NAMES}:
        assert f" {name} " in found.out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_an_imperative_line_and_an_example(name: str) -> None:
    entry = next(entry for entry in catalog.COMMANDS if entry.name == name)
    found = world.say(*name.split(), "--help")
    assert found.code == 0, found.err
    words = " ".join(found.out.split())
    assert entry.help in words
    assert f"Example: {entry.example}" in words
    assert entry.example.startswith(f"fettle {name}")


@pytest.mark.parametrize("name", catalog.GROUPS)
def test_every_group_lists_its_commands_without_importing_them(name: str) -> None:
    found = world.say(name, "--help")
    assert found.code == 0
    assert "Example: fettle" in found.out
    for command in [n.split()[1] for n in NAMES if n.startswith(f"{name} ")]:
        assert f" {command} " in found.out


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion() -> None:
    found = world.say("stauts")
    assert found.code == 2
    assert "Did you mean 'status'?" in found.err


def test_a_mistyped_command_of_a_group_is_a_usage_error_with_a_suggestion() -> None:
    found = world.say("worker", "lst")
    assert found.code == 2
    assert "Did you mean 'list'?" in found.err


def test_an_unknown_option_is_a_usage_error() -> None:
    assert world.say("fleet", "--nonsense").code == 2


def test_version_is_one_line() -> None:
    found = world.spawn("--version")
    assert (found.code, found.out) == (0, "fettle 0.1.0\n")


def test_the_state_directory_may_be_named_before_the_command(tmp_path: Path) -> None:
    found = world.spawn("--state", str(tmp_path / "there"), "worker", "migrate", "--json")
    assert found.code == 0, found.err
    assert (tmp_path / "there" / "fettle.db").exists()


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m cli.main doctor --json | true"
    environment = {**os.environ, "PYTHONPATH": str(world.ROOT), "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment)
    assert "Traceback" not in found.stderr
    assert "this should not happen" not in found.stderr
