"""CI on real commits: what runs, when, and what it reports."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.devforge import world

Build = Callable[[dict[str, str]], Awaitable[world.Repository]]
TEST = (
    'import sys\nprint("running with", sys.version_info[0])\nsys.exit(0 if open("app.py").read() == "good\\n" else 7)\n'
)


async def test_a_pull_request_is_red_then_green(repository_with: Build, listener: world.Listener) -> None:
    repository = await repository_with({world.CI_FILE: world.ci_file("python3 check.py"), "check.py": TEST})
    await repository.protect("tests")
    await repository.concluded(await repository.work.git("rev-parse", "main"))  # its events are not awaited below
    await repository.listen(listener, "check_run", "check_suite")
    red = await repository.work.branch("change", {"app.py": "bad\n"})
    number = (await repository.pull("change"))["number"]
    await listener.until(lambda got: any(item.payload.get("check_suite") for item in got))
    run = await repository.concluded(red)
    assert (run["conclusion"], run["app"]["slug"]) == ("failure", "devforge-ci")
    assert run["output"]["summary"] == "`python3 check.py`: exit code 7"
    assert "running with 3" in run["output"]["text"]
    log = await repository.bot.http.get(run["details_url"], headers={"Accept": "text/html"})
    assert "running with 3" in log.text
    refused = await repository.bot.put(f"{repository.path}/pulls/{number}/merge", {"sha": red}, 405)
    assert refused["message"] == 'Required status check "tests" is failing.'
    listener.got.clear()
    green = await repository.work.branch("change", {"app.py": "good\n"}, "change")
    got = await listener.until(lambda got: "check_suite.completed" in [item.kind for item in got])
    suite = next(item.payload["check_suite"] for item in got if item.kind == "check_suite.completed")
    assert (suite["head_branch"], suite["head_sha"], suite["conclusion"]) == ("change", green, "success")
    assert [pull["number"] for pull in suite["pull_requests"]] == [number]
    kinds = [item.kind for item in got if item.event != "ping"]
    assert kinds == ["check_run.created", "check_run.completed", "check_suite.completed"]
    await repository.bot.put(f"{repository.path}/pulls/{number}/merge", {"sha": green})


async def test_without_a_declaration_there_are_no_checks(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    await repository.pull("change")
    found = await repository.bot.get(f"{repository.path}/commits/{sha}/check-runs")
    assert found == {"total_count": 0, "check_runs": []}
    assert (await repository.bot.get(f"{repository.path}/commits/{sha}/status"))["state"] == "pending"


async def test_a_plain_branch_runs_nothing_but_a_queue_branch_does_once(repository_with: Build) -> None:
    repository = await repository_with({world.CI_FILE: world.ci_file("true")})
    start = await repository.work.git("rev-parse", "main")
    await repository.concluded(start)  # the default branch
    sha = await repository.work.branch("plain", {"new.py": ""})
    checks = f"{repository.path}/commits/{sha}/check-runs?filter=all"
    assert (await repository.bot.get(checks))["total_count"] == 0
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": "refs/heads/fettle/queue/main/1", "sha": sha})
    assert (await repository.concluded(sha))["conclusion"] == "success"
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": "refs/heads/fettle/queue/main/2", "sha": sha})
    await repository.pull("plain")
    assert (await repository.bot.get(checks))["total_count"] == 1
    await repository.bot.post(f"{repository.path}/git/refs", {"ref": "refs/heads/fettle/queue/x", "sha": start})
    merged = await repository.bot.post(
        f"{repository.path}/merges", {"base": "fettle/queue/x", "head": await repository.work.branch("y", {"y": ""})}
    )
    assert (await repository.concluded(merged["sha"]))["conclusion"] == "success"


async def test_a_hanging_command_is_killed_with_everything_it_started(repository_with: Build, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = f"(sleep 300) & echo $! > {pid}; echo started; sleep 300"
    for seconds in (1, 4, 16):  # a busy machine may end the command before it has begun
        repository = await repository_with({world.CI_FILE: world.ci_file(command, seconds=seconds)})
        run = await repository.concluded(await repository.work.git("rev-parse", "main"))
        assert run["conclusion"] == "timed_out"
        if "started" in (run["output"]["text"] or ""):
            break
    else:
        pytest.fail("the command did not begin within 16 s")

    async def ended() -> bool | None:
        return None if world.lives(int(pid.read_text())) else True

    await world.eventually(ended, "the end of what the command started")


async def test_what_a_command_leaves_in_the_background_does_not_keep_its_verdict(
    repository_with: Build, tmp_path: Path
) -> None:
    """A daemon has left the command's group, and holds its output open."""
    pid = tmp_path / "pid"
    command = f"setsid sleep 300 & echo $! > {pid}; echo done"
    repository = await repository_with({world.CI_FILE: world.ci_file(command, seconds=120)})
    try:
        run = await repository.concluded(await repository.work.git("rev-parse", "main"))
        assert run["conclusion"] == "success"
        assert "done" in run["output"]["text"]
    finally:
        os.killpg(int(pid.read_text()), signal.SIGKILL)


async def test_the_environment_of_a_run_is_clean(repository_with: Build) -> None:
    repository = await repository_with({world.CI_FILE: world.ci_file("env | sort")})
    run = await repository.concluded(await repository.work.git("rev-parse", "main"))
    names = {line.partition("=")[0] for line in run["output"]["text"].split("\n")}
    assert names - {"```", "PWD", "_", "OLDPWD", "SHLVL"} == {
        "CI",
        "DEVFORGE_SHA",
        "HOME",
        "LANG",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "TMPDIR",
    }
    assert world.ADMIN not in run["output"]["text"]


async def test_an_unreadable_declaration_is_a_failed_check(repository_with: Build) -> None:
    repository = await repository_with({world.CI_FILE: "{"})
    run = await repository.concluded(await repository.work.git("rev-parse", "main"), world.CI_FILE)
    assert run["conclusion"] == "failure"
    assert "cannot be read" in run["output"]["summary"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("off", []),
        ("never_report", [("queued", None)]),
        ("instant_success", [("completed", "success")]),
        ("instant_failure", [("completed", "failure")]),
    ],
)
async def test_ci_modes_answer_without_running_anything(
    repository_with: Build, mode: str, expected: list[tuple[str, str | None]]
) -> None:
    repository = await repository_with({})
    await repository.admin.put(f"/_devforge{repository.path}/ci", {"mode": mode})
    sha = await repository.work.branch("change", {world.CI_FILE: world.ci_file("false")})
    await repository.pull("change")
    found = await repository.bot.get(f"{repository.path}/commits/{sha}/check-runs")
    assert [(run["status"], run["conclusion"]) for run in found["check_runs"]] == expected


async def test_a_rerequest_runs_the_check_again(repository_with: Build, listener: world.Listener) -> None:
    repository = await repository_with({world.CI_FILE: world.ci_file("false")})
    sha = await repository.work.git("rev-parse", "main")
    run = await repository.concluded(sha)
    await repository.listen(listener, "check_run")
    await repository.bot.post(f"{repository.path}/check-runs/{run['id']}/rerequest")
    await listener.has("check_run.rerequested", "check_run.created", "check_run.completed")
    found = await repository.bot.get(f"{repository.path}/commits/{sha}/check-runs?filter=all")
    assert (found["total_count"], found["check_runs"][1]["id"]) == (2, run["id"])
    assert (await repository.bot.get(f"{repository.path}/commits/{sha}/check-runs"))["total_count"] == 1


async def test_an_app_reports_its_own_check_runs(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    path = f"{repository.path}/check-runs"
    wanted = {"name": "review", "head_sha": sha, "status": "in_progress", "external_id": "k1"}
    run = await repository.bot.post(path, wanted | {"output": {"title": "t", "summary": "s", "text": "x"}})
    assert (run["status"], run["conclusion"], run["external_id"]) == ("in_progress", None, "k1")
    done = await repository.bot.patch(f"{path}/{run['id']}", {"conclusion": "neutral"})
    assert (done["status"], done["output"]["summary"]) == ("completed", "s")
    suites = await repository.bot.get(f"{repository.path}/commits/{sha}/check-suites")
    assert [suite["conclusion"] for suite in suites["check_suites"]] == ["neutral"]
    await repository.bot.post(path, {"name": "x", "head_sha": "1" * 40}, 422)
    await repository.bot.post(path, {"name": "x", "head_sha": sha, "status": "completed"}, 422)


async def test_the_newest_status_of_a_context_counts(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    await repository.status(sha, "failure")
    await repository.status(sha, "success")
    await repository.status(sha, "success", "lint")
    found = await repository.bot.get(f"{repository.path}/commits/{sha}/status")
    assert (found["state"], found["total_count"]) == ("success", 2)
    assert len(await repository.bot.get(f"{repository.path}/commits/change/statuses")) == 3
    await repository.bot.post(f"{repository.path}/statuses/{sha}", {"state": "fine"}, 422)
