import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from domain import errors
from integrations.git import launch, names, runner


@pytest.fixture
def git(tmp_path: Path) -> runner.Runner:
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    return runner.Runner(scratch)


def _shell(command: str) -> tuple[str, ...]:
    """A git command that is a shell command line."""
    return ("-c", f"alias.do=!{command}", "do")


async def test_git_sees_no_environment_of_the_worker(git: runner.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "GIT_DIR", "GIT_CONFIG_COUNT", "GIT_SSH", "GIT_PROXY_COMMAND", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "from-the-worker")
    seen = (await git.run(*_shell("env"))).text
    assert "from-the-worker" not in seen
    assert "GIT_TERMINAL_PROMPT=0" in seen


async def test_user_configuration_is_not_read(
    git: runner.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Somebody\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert (await git.run("config", "--get", "user.name", check=False)).code == 1


async def test_operators_environment_reaches_git_but_not_over_ours(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    git = runner.Runner(tmp_path / "scratch", {"SSL_CERT_FILE": "/ca.pem", "GIT_CONFIG_GLOBAL": "/evil"})
    seen = (await git.run(*_shell("env"))).text
    assert "SSL_CERT_FILE=/ca.pem" in seen
    assert "GIT_CONFIG_GLOBAL=/dev/null" in seen


async def test_transport_that_is_not_named_is_refused_by_git(git: runner.Runner, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(errors.GitFailed, match="transport 'ext' not allowed"):
        await git.run("ls-remote", f"ext::sh -c touch% {marker}", protocols=("file",))
    assert not marker.exists()


@pytest.fixture
def pid_pipe(tmp_path: Path) -> Path:
    """A named pipe: reading it waits until the child has said who it is."""
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    return pipe


async def test_timeout_ends_the_whole_process_group(git: runner.Runner, tmp_path: Path) -> None:
    said = tmp_path / "pid"
    for seconds in (1, 4, 16):  # a busy machine may end it before it has begun
        with pytest.raises(launch.TimedOut, match=f"limit of {seconds} s"):
            await git.run(*_shell(f"sleep 300 & echo $! > {said}; wait"), timeout_seconds=seconds)
        if said.exists() and (pid := said.read_text()):
            await _gone(int(pid))
            return
    pytest.fail("git did not begin within 16 s")


async def test_cancellation_ends_the_whole_process_group(git: runner.Runner, pid_pipe: Path) -> None:
    task = asyncio.create_task(git.run(*_shell(f"sleep 300 & echo $! > {pid_pipe}; wait")))
    pid = int(await asyncio.to_thread(pid_pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(pid)


async def test_cancellation_at_any_moment_of_the_start_ends_the_whole_group(git: runner.Runner) -> None:
    """The loop is held up, as on a busy host: git has children of its own before it counts as started."""
    for turns in range(8):
        task = asyncio.create_task(git.run(*_shell("sleep 300; true")))
        for _ in range(turns):
            await asyncio.sleep(0)
        _hold_the_loop_up()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "sleep 300" not in _arguments_of_children()


def _hold_the_loop_up() -> None:
    time.sleep(0.1)


def _arguments_of_children() -> str:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = ""
    for child in children:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += Path(f"/proc/{child}/cmdline").read_text() if _lives(int(child)) else ""
    return found


async def _gone(pid: int) -> None:
    """Killed at once, collected by whoever adopted it a moment later."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not _lives(pid):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"process {pid} lives")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_output_without_end_is_cut_off(git: runner.Runner) -> None:
    with pytest.raises(launch.OutputTooLarge, match="1000 bytes"):
        await git.run(*_shell("yes"), most_output=1000)


async def test_large_input_and_output_pass_at_the_same_time(git: runner.Runner) -> None:
    data = b"line\n" * 400_000
    assert (await git.run(*_shell("cat"), stdin=data)).stdout == data


async def test_failure_says_what_failed_and_hides_the_token(git: runner.Runner) -> None:
    secret = runner.Credentials("fettle", "tok" + "en-value-123")
    with pytest.raises(errors.GitFailed) as failure:
        await git.run(
            *_shell("echo fatal: https://u:pw@host/x said token-value-123 $'\\x1b[31m' >&2; exit 3"),
            credentials=secret,
        )
    assert "code 3" in str(failure.value)
    assert secret.token not in str(failure.value)
    assert "u:pw" not in str(failure.value)
    assert "\x1b" not in str(failure.value)
    assert secret.token not in repr(secret)


async def test_credentials_file_is_private_and_gone_afterwards(git: runner.Runner) -> None:
    secret = runner.Credentials("fettle", "token-value")
    look = 'stat -c %a "$FETTLE_GIT_CREDENTIALS"; "$GIT_ASKPASS" "Username for x"; "$GIT_ASKPASS" "Password for x"'
    assert (await git.run(*_shell(look), credentials=secret)).text.split() == ["600", "fettle", "token-value"]
    with pytest.raises(errors.GitFailed):
        await git.run(*_shell("exit 1"), credentials=secret)
    assert list(git.scratch.glob("credentials*")) == []
    seen = (await git.run(*_shell("env"), credentials=secret)).text
    assert "token-value" not in seen


async def test_what_a_killed_worker_left_is_swept_and_what_is_in_use_is_not(git: runner.Runner) -> None:
    secret = runner.Credentials("u", "t")
    names_in_use = (await git.run(*_shell('ls "$(dirname "$FETTLE_GIT_CREDENTIALS")"'), credentials=secret)).text
    [name] = [each for each in names_in_use.split() if each.startswith("credentials")]
    left, new = git.scratch / name, git.scratch / f"{name}-new"
    for path in (left, new):
        path.write_text("u\nt\n")
    os.utime(left, (1, 1))
    with git.folder("index") as folder:
        os.utime(folder, (1, 1))
        git.sweep()
        assert not folder.exists()
        folder.mkdir()
    assert not left.exists()
    assert new.exists()


@pytest.mark.parametrize("url", ["https://forge.example.com/a/b.git", "http://127.0.0.1:8080/a/b", "http://[::1]/a"])
def test_https_and_loopback_addresses_are_accepted(url: str) -> None:
    assert names.protocol(url) == url.partition(":")[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://forge.example.com/a/b",
        "https://user:pw@forge.example.com/a/b",
        "ssh://git@host/a/b",
        "git@host:a/b",
        "ext::sh -c x",
        "file:///srv/git",
        "--upload-pack=x",
        "https://forge.example.com/a b",
        "/srv/git",
        "",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(errors.ConfigurationError) as refusal:
        names.protocol(url)
    assert "user:pw" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["-x", "--all", "a..b", "a b", "a~1", "a:b", "/a", "a/", "a.lock", "@", "HEAD", "a/.b", "", "a\nb", "a@{1}"]
)
def test_names_that_git_would_take_otherwise_are_no_branches(name: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        names.branch_ref(name)


def test_different_runs_have_different_directories() -> None:
    slugs = {names.run_slug(run) for run in ("issue/a/b-c/1", "issue/a-b/c/1", "issue/A/b-c/1", "../../x")}
    assert len(slugs) == 4
    assert all("/" not in slug and not slug.startswith(".") for slug in slugs)
