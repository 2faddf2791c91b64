"""Every failure has one sentence and one exit code."""

import os
import re
import socket
import stat
import time
from pathlib import Path

import pytest
import typer

from cli import failures
from domain import errors
from tests.cli import world


def told(failure: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def work() -> None:
        raise failure

    code = failures.boundary(work, ["status", "12"])
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (failures.Failed("no such run"), 1),
        (failures.Usage("name a run"), 2),
        (failures.Unreachable("nobody answers"), 3),
        (errors.Refused("it is held"), 1),
        (errors.ConfigurationError("a key is wrong"), 1),
        (errors.ForgeUnavailable("no answer"), 3),
        (errors.RateLimited("too many requests"), 3),
        (errors.BadCredentials("the token is wrong"), 1),
    ],
)
def test_a_failure_that_was_foreseen_is_one_line_and_its_code(
    failure: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(failure, capsys) == (code, f"error: {failure}\n")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), typer.Abort(), SystemExit(130)])
def test_an_interruption_is_130_and_says_nothing(stop: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(stop, capsys) == (130, "")


def test_an_early_end_keeps_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(typer.Exit(1), capsys)[0] == 1


def test_what_nobody_foresaw_is_one_line_and_a_private_report_without_secrets(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("MY_SERVICE_TOKEN", "squeamish-ossifrage")
    secret = "ghp_" + "a1B2" * 9
    code, said = told(ZeroDivisionError(f"with {secret} and squeamish-ossifrage"), capsys)
    assert code == 1
    assert said.count("\n") == 1
    assert "ZeroDivisionError" in said
    place = re.search(r"\S+fettle-report-\S+\.txt", said)
    assert place is not None
    report = Path(place[0])
    text = report.read_text()
    assert "command: fettle status 12" in text
    assert "Traceback" in text
    assert secret not in text
    assert "squeamish-ossifrage" not in text
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_a_message_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, said = told(failures.Failed("title \x1b[2J\x9b31m\u202e end"), capsys)
    assert said == "error: title [2J31m end\n"


def test_an_unreachable_server_is_exit_3_within_ten_seconds(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, so that nobody else gets the port, and not listening
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        found = world.spawn("fleet", "--json", TEMPORAL_ADDRESS=address, FETTLE_STATE_DIR=str(tmp_path))
    assert time.monotonic() - began < 10
    assert found.code == 3
    assert found.out == ""
    assert address in found.err
    assert "fettle up" in found.err


def test_a_server_that_accepts_and_never_answers_is_exit_3_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what a busy machine needs to start another one is not the client's patience."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        began = time.monotonic()
        found = world.say("status", "acme/api#1")
    assert time.monotonic() - began < 10
    assert found.code == 3
    assert address in found.err


def test_wrong_settings_name_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_AGENT_SLOTS", "many")
    found = world.say("repo", "list")
    assert found.code == 1
    assert "agent_slots" in found.err.lower()
    assert os.linesep not in found.err.strip()
