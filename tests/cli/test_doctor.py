"""The doctor finds what is missing, says what to do, changes nothing, and never fails as a whole."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.worker import Worker

from cli import checkup, checkup_services, polling
from domain import wire
from tests.cli.world import World, asay, say
from workers import settings


@activity.defn(name=wire.CLAIM_HOST)
async def claim_host() -> None: ...


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in found}


async def test_a_whole_installation_is_well(repo: str, runs: World, tmp_path: Path) -> None:
    assert (await asay("worker", "migrate")).code == 0
    assert (await asay("repo", "add", repo)).code == 0
    async with Worker(runs.client, task_queue=wire.AGENTS_QUEUE, activities=[claim_host]), asyncio.timeout(30):
        while not await polling.of_queue(runs.client, wire.AGENTS_QUEUE):  # noqa: ASYNC110 - a poll tells nobody
            await asyncio.sleep(0.05)
        found = await asay("doctor", "--json")
    checks = by_name(found.json)
    assert [c["name"] for c in checks.values() if c["level"] == "fail"] == []
    assert found.code == 0
    for name in ("python", "git", "temporal", "search attributes", "store", "forge", "clock", f"repository {repo}"):
        assert checks[name]["level"] == "ok", checks[name]
    assert "as fettle" in checks["forge"]["detail"]


async def test_each_problem_has_a_next_step_and_the_exit_code_is_1(
    runs: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "AGENTS_QUEUE", "nobody-polls-this")
    found = await asay("doctor", "--json")
    assert found.code == 1
    for check in found.json:
        assert bool(check["next"]) == (check["level"] != "ok"), check
    assert by_name(found.json)["forge"]["level"] == "fail"
    assert "nobody polls" in by_name(found.json)["workers on nobody-polls-this (activities)"]["detail"]


def test_a_doctor_without_a_server_still_checks_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    found = say("doctor")
    assert found.code == 3
    assert "127.0.0.1:1" in found.out
    assert "git" in found.out
    assert "→" in found.out


async def test_the_doctor_makes_nothing(repo: str, tmp_path: Path) -> None:
    found = by_name((await asay("doctor", "--json")).json)
    assert found["forge"]["level"] == "ok"
    assert found["store"]["level"] == "warn"
    assert not (tmp_path / "state").exists()


def test_an_old_git_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho git version 2.30.2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    found = by_name(json.loads(say("doctor", "--json").out))["git"]
    assert found["level"] == "fail"
    assert "2.30.2" in found["detail"]
    assert "2.38" in found["detail"]


def test_a_state_directory_that_is_a_file_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("")
    monkeypatch.setenv("FETTLE_STATE_DIR", str(tmp_path / "state" / "deep"))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    found = by_name(say("doctor", "--json").json)["state directory"]
    assert found["level"] == "fail"
    assert str(tmp_path / "state" / "deep") in found["detail"]


def test_wrong_settings_are_the_only_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_AGENT_SLOTS", "many")
    found = say("doctor", "--json")
    assert found.code == 1
    assert [check["name"] for check in found.json] == ["settings"]


def test_a_check_that_breaks_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(config: settings.Settings) -> list[checkup.Check]:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(checkup_services, "PROBES", (("forge", broken),))
    found = by_name(say("doctor", "--json").json)
    assert found["forge"]["detail"] == "ZeroDivisionError: oops"
    assert found["python"]["level"] == "ok"
