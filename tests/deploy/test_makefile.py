"""The Makefile and its scripts: the right interpreter, a clean standard output, and a half-built environment redone."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.shell import ROOT, program

VERBS = [
    "help",
    "demo",
    "test",
    "test-slow",
    "test-agents",
    "test-agents-slow",
    "test-contract",
    "check",
    "format",
    "bench",
    "lock",
    "clean",
]


def fake_python(path: Path, version: str, *, able: str = "venv") -> Path:
    """An interpreter that answers the finder's question as that version would."""
    return program(path, f'echo "{version} {able} $0"')


# --- which Python ------------------------------------------------------------------------------------------------
class Machine:
    """A made-up machine: its PATH and its /usr, and what the finder says there."""

    def __init__(self, home: Path) -> None:
        self.bin = home / "bin"
        self.usr = home / "usr"
        self.bin.mkdir()
        self.script = home / "find_python.sh"
        # The fixed places of last resort exist on the test machine too, so they are moved into the made-up one.
        original = (ROOT / "deploy" / "find_python.sh").read_text()
        self.script.write_text(original.replace("/usr/", f"{self.usr}/"))

    def find(self, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {"PATH": str(self.bin), **environment}
        return subprocess.run(["/bin/sh", self.script], env=settings, capture_output=True, text=True, timeout=30)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_shim_that_fails_and_an_old_python_are_passed_over(machine: Machine) -> None:
    program(machine.bin / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    fake_python(machine.bin / "python3", "3.9")
    expected = fake_python(machine.bin / "python3.12", "3.12")
    assert machine.find().stdout == f"{expected}\n"


def test_the_newest_supported_python_wins_and_314_is_not_taken(machine: Machine) -> None:
    fake_python(machine.bin / "python3.14", "3.14")
    fake_python(machine.bin / "python3", "3.14")
    fake_python(machine.bin / "python3.11", "3.11")
    expected = fake_python(machine.bin / "python3.13", "3.13")
    assert machine.find().stdout == f"{expected}\n"


def test_a_version_that_pyenv_keeps_off_path_is_found(machine: Machine, tmp_path: Path) -> None:
    program(machine.bin / "pyenv", f"echo '{tmp_path}/pyenv root'")
    fake_python(machine.bin / "python3", "3.11")
    expected = fake_python(tmp_path / "pyenv root" / "versions" / "3.12.1" / "bin" / "python", "3.12")
    assert machine.find().stdout == f"{expected}\n"


def test_the_system_python_is_found_when_path_has_only_a_shim(machine: Machine) -> None:
    program(machine.bin / "python3", "exit 127")
    expected = fake_python(machine.usr / "bin" / "python3", "3.11")
    assert machine.find().stdout == f"{expected}\n"


def test_a_newer_python_without_venv_gives_way_to_an_older_one_with_it(machine: Machine) -> None:
    fake_python(machine.bin / "python3.13", "3.13", able="no-venv")
    expected = fake_python(machine.bin / "python3.11", "3.11")
    assert machine.find().stdout == f"{expected}\n"


def test_a_python_without_venv_is_answered_with_the_package_to_install(machine: Machine) -> None:
    fake_python(machine.bin / "python3", "3.11", able="no-venv")
    refused = machine.find()
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "apt install python3.11-venv" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_machine_without_a_fitting_python_is_told_so_in_one_sentence(machine: Machine) -> None:
    fake_python(machine.bin / "python3", "3.9")
    refused = machine.find()
    assert refused.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in refused.stderr
    assert "found: 3.9" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_named_python_is_taken_or_refused_but_never_replaced(machine: Machine) -> None:
    fake_python(machine.bin / "python3.13", "3.13")
    old = fake_python(machine.bin / "old", "3.10")
    chosen = fake_python(machine.bin / "chosen", "3.11")
    assert machine.find(PYTHON=str(chosen)).stdout == f"{chosen}\n"
    refused = machine.find(PYTHON=str(old))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is 3.10, and Fettle needs 3.11, 3.12 or 3.13" in refused.stderr


def test_the_interpreter_of_this_machine_really_runs() -> None:
    found = subprocess.run(["sh", ROOT / "deploy" / "find_python.sh"], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    version = subprocess.run([found.stdout.strip(), "--version"], capture_output=True, text=True, timeout=30).stdout
    assert re.match(r"Python 3\.1[123]\.", version)


# --- the verbs ---------------------------------------------------------------------------------------------------
INTERPRETER = """
case "$*" in
    *platform.python_implementation*) echo "3.12 venv $0" ;;
    --version) echo "Python 3.12.9" ;;
    "-m venv .venv")
        mkdir -p .venv/bin && cp "$0" .venv/bin/python
        printf '#!/bin/sh\\nprintf "[\\\\"%%s\\\\"]" "$2"\\n' > .venv/bin/fettle
        chmod +x .venv/bin/fettle ;;
    "-m pip"*) echo "pip $*" | tee -a "$CALLS"; [ ! -e "$CALLS.fail" ] ;;
esac
"""


class Checkout:
    """The Makefile in a fresh checkout, with an interpreter that records the installations."""

    def __init__(self, home: Path) -> None:
        self.root = home / "check out"
        self.calls = home / "calls"
        shutil.copytree(ROOT / "deploy", self.root / "deploy")
        for name in ("Makefile", "pyproject.toml", "constraints-dev.txt"):
            shutil.copy(ROOT / name, self.root)
        program(home / "bin" / "python3.12", INTERPRETER)
        self.environment = {"PATH": f"{home}/bin:{os.environ['PATH']}", "CALLS": str(self.calls)}
        self.environment["PYTHON"] = str(home / "bin" / "python3.12")

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments], cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=50
        )

    def installations(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if shutil.which("make") is None:
        pytest.skip("make is not installed here")
    return Checkout(tmp_path)


def test_help_names_every_verb_with_its_purpose(checkout: Checkout) -> None:
    for arguments in ([], ["help"]):
        listed = dict(line.split(maxsplit=1) for line in checkout.make(*arguments).stdout.splitlines())
        assert list(listed) == VERBS
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == {*VERBS, "FORCE"}


def test_a_json_demo_on_a_fresh_checkout_prints_json_and_nothing_else(checkout: Checkout) -> None:
    answer = checkout.make("demo", "ARGS=--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == ["--json"]
    assert "making .venv with Python 3.12.9" in answer.stderr
    locked, editable = checkout.installations()
    assert "--require-hashes -r constraints-dev.txt" in locked
    assert "--no-deps --no-build-isolation -e ." in editable


def test_an_environment_that_is_ready_is_not_touched(checkout: Checkout) -> None:
    checkout.make("demo")
    assert checkout.make("demo").stderr == ""
    assert len(checkout.installations()) == 2


def test_a_changed_lock_file_refreshes_the_environment_in_place(checkout: Checkout) -> None:
    checkout.make("demo")
    ready = (checkout.root / ".venv" / ".fettle-ready").stat().st_mtime
    os.utime(checkout.root / "constraints-dev.txt", (ready + 5, ready + 5))
    answer = checkout.make("demo")
    assert "making .venv" not in answer.stderr
    assert len(checkout.installations()) == 4


def test_an_interrupted_build_is_made_anew(checkout: Checkout) -> None:
    failure = checkout.calls.with_suffix(".fail")
    failure.touch()
    assert checkout.make("demo").returncode != 0
    leftover = checkout.root / ".venv" / "leftover"
    leftover.touch()

    failure.unlink()
    answer = checkout.make("demo")
    assert answer.returncode == 0, answer.stderr
    assert "making .venv" in answer.stderr
    assert not leftover.exists()


def test_an_environment_that_moved_with_its_checkout_is_made_anew(checkout: Checkout) -> None:
    checkout.make("demo")
    checkout.root = checkout.root.rename(checkout.root.with_name("elsewhere"))
    assert "making .venv" in checkout.make("demo").stderr


def test_each_verb_runs_the_tools_of_the_environment(checkout: Checkout) -> None:
    checkout.make("demo")
    commands = {verb: checkout.make("-n", verb, "ARGS=--some").stdout for verb in VERBS}
    assert ".venv/bin/fettle demo --some" in commands["demo"]
    assert '.venv/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow" --some' in commands["test"]
    assert ".venv/bin/python -m pytest -q -n 2 --dist loadfile -m slow --some" in commands["test-slow"]
    for tool in ("ruff check .", "ruff format --check .", "-m mypy", "lint-imports"):
        assert tool in commands["check"]
    assert ".venv/bin/python -m evals.bench --some" in commands["bench"]
    assert "deploy/lock.sh --some" in commands["lock"]
    assert ".fettle " not in commands["clean"].replace("-name .fettle ", "")


def test_clean_keeps_the_state_of_runs(checkout: Checkout) -> None:
    checkout.make("demo")
    state = checkout.root / ".fettle" / "__pycache__"
    state.mkdir(parents=True)
    (checkout.root / "dist").mkdir()
    (checkout.root / "domain" / "__pycache__").mkdir(parents=True)
    assert checkout.make("clean").returncode == 0
    assert state.exists()
    assert not any((checkout.root / name).exists() for name in (".venv", "dist", "domain/__pycache__"))


LOCKING = """
while [ $# -gt 0 ]; do
    case $1 in -o) out=$2; shift ;; --upgrade) echo upgrade >> "$CALLS" ;; esac
    shift
done
[ -f "$out" ] && cp "$out" "$CALLS.preference"
printf '%s' "$LOCK" > "$out"
"""


def test_lock_refuses_an_address_and_keeps_the_old_files(checkout: Checkout, tmp_path: Path) -> None:
    tool = program(tmp_path / "uv", LOCKING)
    before = (checkout.root / "constraints-dev.txt").read_text()
    checkout.environment["LOCK"] = "thing @ https://example.invalid/thing.whl\n"
    refused = checkout.make("lock", f"UV={tool}")
    assert refused.returncode != 0
    assert "a lock file may hold none" in refused.stderr
    assert (checkout.root / "constraints-dev.txt").read_text() == before


def test_lock_writes_all_files_and_passes_its_options_on(checkout: Checkout, tmp_path: Path) -> None:
    tool = program(tmp_path / "uv", LOCKING)
    checkout.environment["LOCK"] = "thing==1.0 \\\n    --hash=sha256:00\n"
    answer = checkout.make("lock", f"UV={tool}", "ARGS=--upgrade")
    assert answer.returncode == 0, answer.stderr
    for name in ("constraints.txt", "constraints-dev.txt", "deploy/constraints-build.txt"):
        assert (checkout.root / name).read_text() == checkout.environment["LOCK"]
    assert checkout.installations() == ["upgrade"] * 3


def test_lock_without_uv_says_how_to_get_it(checkout: Checkout) -> None:
    refused = checkout.make("lock", "UV=no-such-uv")
    assert refused.returncode != 0
    assert "no-such-uv is not a program on PATH" in refused.stderr


# --- what CI runs ------------------------------------------------------------------------------------------------
def ci_run(tmp_path: Path, make: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    program(tmp_path / "bin" / "make", make)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    return subprocess.run([tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, timeout=30)


_STEPS = ("test", "slow", *(("contract", "agents") if shutil.which("npm") else ()), "check")


def test_ci_runs_the_tests_then_the_checks_and_times_both(tmp_path: Path) -> None:
    answer = ci_run(tmp_path, 'echo "made $1"')
    assert answer.returncode == 0
    passed = re.findall(r"made (?:test-)?([\w-]+)\n=== (\w+): passed in \d+ s", answer.stdout)
    assert passed == [(step, step) for step in _STEPS]


def test_ci_stops_at_a_failing_step_with_its_exit_code(tmp_path: Path) -> None:
    answer = ci_run(tmp_path, "exit 7")
    assert answer.returncode == 7
    assert "=== test: FAILED with exit code 7" in answer.stdout
    assert "check" not in answer.stdout
