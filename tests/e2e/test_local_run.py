import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import proc
from tests.e2e import command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

Git = Callable[..., str]
SCRIPT = {
    "name": "correct a greeting",
    "turns": [{"steps": [{"say": "I correct it."}, {"write": {"path": "hello.txt", "content": "hello\n"}}]}],
}


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """git in a checkout with one commit, on a branch that is not called main."""
    repo = tmp_path / "my project"
    repo.mkdir()

    def run(*arguments: str) -> str:
        who = ("-c", "user.name=Me", "-c", "user.email=me@example.invalid")
        argv, environment = ["git", *who, *arguments], command.git_environment()
        done = subprocess.run(argv, cwd=repo, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet", "--initial-branch=trunk")
    (repo / "hello.txt").write_text("helo\n")
    run("add", ".")
    run("commit", "--quiet", "-m", "first")
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    return run


def _run(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    fixed = ("--repo", str(tmp_path / "my project"), "--title", "Say hello", "--body", "It says helo.")
    place = ("--script", str(tmp_path / "script.json"), "--state", str(tmp_path / "state"))
    return command.fettle("run", *fixed, *place, *options, seconds=120)


@pytest.mark.slow
def test_result_is_merged_in_a_copy_and_can_be_fetched_when_nothing_runs_any_more(tmp_path: Path, git: Git) -> None:
    head = git("rev-parse", "HEAD")
    done = _run(tmp_path, "--verify", "grep -qx hello hello.txt", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["outcome"] == "merged"
    assert result["branch"] == "trunk"
    assert result["applied"] is False
    assert git("rev-parse", "HEAD") == head
    assert git("status", "--porcelain") == ""
    assert git("for-each-ref", "--format=%(refname)") == "refs/heads/trunk"
    assert command.mentioning(str(tmp_path / "state")) == []
    git("fetch", "--quiet", result["fetch_from"], result["branch"])
    assert git("rev-parse", "FETCH_HEAD") == result["merge_sha"]
    assert git("show", "FETCH_HEAD:hello.txt") == "hello"


@pytest.mark.slow
def test_apply_moves_the_checked_out_branch(tmp_path: Path, git: Git) -> None:
    done = _run(tmp_path, "--verify", "grep -qx hello hello.txt", "--apply", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["applied"] is True
    assert git("rev-parse", "trunk") == result["merge_sha"]
    assert (tmp_path / "my project" / "hello.txt").read_text() == "hello\n"


@pytest.mark.slow
def test_verify_command_that_fails_ends_the_run_unmerged_and_says_why(tmp_path: Path, git: Git) -> None:
    done = _run(tmp_path, "--verify", "false", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["outcome"] == "implementing"
    assert "verification still fails" in done.stderr
    assert str(tmp_path / "state") in done.stderr
    assert git("status", "--porcelain") == ""


@pytest.mark.slow
def test_untested_change_waits_for_a_person_in_the_installation_that_runs_already(tmp_path: Path, git: Git) -> None:
    """Without checks and without a verify command nothing vouches for a change, so nothing merges it by itself."""
    state = tmp_path / "state"
    up = command.Up(
        state, FETTLE_SCRIPTED=str(tmp_path / "script.json"), FETTLE_CI_POLL_SECONDS="2", FETTLE_SANDBOX="none"
    )
    run = None
    try:
        up.ready()
        before = up.identities()
        fixed = ["--repo", str(tmp_path / "my project"), "--title", "Say hello", "--state", str(state), "--json"]
        run = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", *fixed, "--agent", "scripted"],
            env=command.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stderr
        assert "the run will wait for an approval" in run.stderr.readline()
        asked = next(line for line in run.stderr if "fettle approve" in line)
        words = shlex.split(asked.partition("FETTLE_STATE_DIR=")[2])
        approved = command.fettle(*words[2:], FETTLE_STATE_DIR=words[0])
        assert approved.returncode == 0, f"{asked}: {approved.stderr}"
        out, said = run.communicate(timeout=60)
        assert run.returncode == 0, said
        result = json.loads(out)
        assert result["outcome"] == "merged"
        assert result["history_events"] <= 150  # an approval counted in
        assert up.identities() == before
        assert all(map(proc.is_alive, before.values()))
        again = command.fettle("run", *fixed, "--agent", "scripted", "--verify", "grep -qx hello hello.txt")
        assert json.loads(again.stdout)["fetch_from"] != json.loads(out)["fetch_from"], again.stderr
    finally:
        if run is not None:
            run.kill()
            run.communicate()
        up.end()


def test_named_agent_that_cannot_run_here_is_refused_before_anything_starts(tmp_path: Path, git: Git) -> None:
    options = ("--repo", str(tmp_path / "my project"), "--title", "x", "--state", str(tmp_path / "state"))
    refused = command.fettle("run", *options, "--agent", "scripted")
    assert refused.returncode == 1
    assert "--script FILE" in refused.stderr
    unknown = command.fettle("run", *options, "--agent", "nobody")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr
    assert not (tmp_path / "state" / "up.json").exists()
