import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import verification
from domain import errors, redaction, work
from sandbox import unconfined
from tests.integrations.git.lab import HELD_SECRET, REPO, RUN, Lab, git, write


@pytest.fixture
async def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    await made.prepare()
    return made


def _activities(lab: Lab, pass_environment: tuple[str, ...] = ()) -> verification.VerificationActivities:
    return verification.VerificationActivities(
        lab.forge,  # type: ignore[arg-type]  # the two methods it uses
        lab.mirrors,
        lab.store,
        redaction.Redactor(frozenset({HELD_SECRET})),
        unconfined.Unconfined(),
        pass_environment=pass_environment,
    )


async def _verify(
    lab: Lab, command: str, *, sha: str = "", seconds: float = 30, pass_environment: tuple[str, ...] = ()
) -> work.Verification:
    request = work.VerifyCommit(run=RUN, repo=REPO, sha=sha or lab.first, command=command, timeout_seconds=seconds)
    return await ActivityEnvironment().run(_activities(lab, pass_environment).verify_commit, request)


async def test_command_runs_on_the_commit_and_not_on_the_agents_files(lab: Lab) -> None:
    head = lab.commit({"src/app.py": "LIMIT = 2\n"})
    await lab.integrate()
    write(lab.clone, {"src/app.py": "LIMIT = 99\n", "extra.txt": "x"})
    done = await _verify(lab, "cat src/app.py; ls; git status --porcelain; git rev-parse HEAD", sha=head)
    assert done.passed
    assert done.exit_code == 0
    assert done.tail.split("\n") == ["LIMIT = 2", "README.md", "src", head, ""]


async def test_failure_carries_the_exit_code_and_both_outputs_in_order(lab: Lab) -> None:
    done = await _verify(lab, "echo one; echo two >&2; echo three; exit 7")
    assert (done.passed, done.exit_code, done.timed_out) == (False, 7, False)
    assert done.tail == "one\ntwo\nthree\n"
    assert done.log is not None
    assert await lab.store.read(done.log.key) == b"one\ntwo\nthree\n"


async def test_timeout_ends_everything_the_command_started(lab: Lab, tmp_path: Path) -> None:
    """Also what went into a session of its own."""
    pids = tmp_path / "pids"
    done = await _verify(lab, f"setsid sleep 300 & echo $! >> {pids}; echo $$ >> {pids}; sleep 300", seconds=4)
    assert (done.passed, done.timed_out) == (False, True)
    assert done.seconds < 40
    started = pids.read_text().split()
    assert len(started) == 2, "it was ended before it had begun"
    assert [pid for pid in started if _lives(int(pid))] == []


async def test_process_left_behind_does_not_hold_the_result(lab: Lab, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    done = await _verify(lab, f"nohup sleep 300 & echo $! > {pid}; echo done")
    assert done.passed
    assert not _lives(int(pid.read_text()))


async def test_cancellation_ends_the_command_and_removes_the_checkout(lab: Lab, tmp_path: Path) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    task = asyncio.create_task(_verify(lab, f"echo $$ > {pipe}; sleep 300"))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert not _lives(pid)
    assert _left(lab) == []


def _lives(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone before it is opened, or before it is read
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _left(lab: Lab) -> list[Path]:
    return list((lab.state / "verify").iterdir())


async def test_environment_holds_nothing_of_the_workers(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "ANTHROPIC_API_KEY", "FETTLE_SECRET", "CARGO_HOME"):
        monkeypatch.setenv(name, "from-the-worker")
    seen = (await _verify(lab, "env")).tail
    assert "from-the-worker" not in seen
    assert "CI=true" in seen
    assert "CARGO_HOME=from-the-worker" in (await _verify(lab, "env", pass_environment=("CARGO_HOME",))).tail
    with pytest.raises(errors.ConfigurationError, match="GITHUB_TOKEN"):
        await _verify(lab, "env", pass_environment=("GITHUB_TOKEN",))


async def test_python_is_the_one_that_runs_the_worker(lab: Lab) -> None:
    done = await _verify(lab, "python3 -c 'import sys; print(sys.prefix)'")
    assert done.tail.strip() == sys.prefix


async def test_home_is_empty_and_the_mirror_is_not_named(lab: Lab) -> None:
    done = await _verify(lab, 'export LC_ALL=C; ls -A "$HOME"; cat .git/config; cat .git/objects/info/alternates')
    assert str(lab.source.path) not in done.tail
    assert "No such file" in done.tail


async def test_output_is_redacted_and_bounded(lab: Lab) -> None:
    done = await _verify(lab, f"head -c 200000 /dev/zero | tr '\\0' x; echo; echo {HELD_SECRET}; exit 1")
    assert len(done.tail) == 3000
    assert HELD_SECRET not in done.tail
    assert done.tail.endswith("[redacted:known-secret]\n")
    assert done.log is not None
    assert HELD_SECRET.encode() not in await lab.store.read(done.log.key)


async def test_checkout_is_removed_and_a_lost_one_too(lab: Lab) -> None:
    await _verify(lab, "mkdir -p deep/er; touch deep/er/file; chmod 500 deep/er")
    assert _left(lab) == []


async def test_submodules_and_filters_do_nothing_in_the_checkout(lab: Lab) -> None:
    head = lab.commit({".gitattributes": "*.txt filter=lfs export-ignore\n", "a.txt": "pointer\n"})
    await lab.integrate()
    assert (await _verify(lab, "cat a.txt", sha=head)).tail == "pointer\n"


async def test_commit_that_only_the_forge_has_is_fetched(lab: Lab) -> None:
    sha = lab.push({"new.txt": "n\n"})
    assert (await _verify(lab, "cat new.txt", sha=sha)).passed


@pytest.mark.parametrize("sha", ["1" * 40, "--all", "main", ""])
async def test_unknown_commit_is_refused(lab: Lab, sha: str) -> None:
    request = work.VerifyCommit(run=RUN, repo=REPO, sha=sha, command="true")
    with pytest.raises(errors.NotFound, match="no such commit"):
        await ActivityEnvironment().run(_activities(lab).verify_commit, request)


async def test_verified_repository_cannot_change_the_mirror(lab: Lab) -> None:
    before = git(lab.source.path, "for-each-ref")
    await _verify(lab, "git checkout -q -b x && git commit -q --allow-empty -m x && git gc -q --prune=now")
    assert git(lab.source.path, "for-each-ref") == before
    assert git(lab.source.path, "fsck", "--connectivity-only") == ""
