"""Variables of a tool server may be secrets: no adapter says them where others can read, or leaves them behind."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import agent
from integrations.agent import claude, codex, gemini, kimi, opencode, port

SECRET = "s3cret-of-a-server"
SERVER = agent.McpServer(
    name="desk", command="desk", args=("--header", f"Authorization: {SECRET}"), env={"DESK_TOKEN": SECRET}
)
BACKENDS: tuple[port.AgentBackend, ...] = (
    claude.ClaudeBackend(),
    codex.CodexBackend(),
    gemini.GeminiBackend(),
    kimi.KimiBackend(),
    opencode.OpencodeBackend(opencode.OpencodeSettings(model="a/b")),
)


def request_with(backend: port.AgentBackend, worktree: Path, *servers: agent.McpServer) -> agent.TurnRequest:
    session = agent.Session(backend=backend.name, id="0b1c7a52-1111-4222-8333-944455556666")
    return agent.TurnRequest(
        run="issue/acme/api/12", prompt="Fix it", session=session, worktree=str(worktree), mcp_servers=servers
    )


def holding(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text())


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    (tmp_path / "worktree").mkdir()
    return tmp_path / "worktree"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda each: each.name)
def test_variables_of_a_tool_server_are_in_one_private_file_alone(
    backend: port.AgentBackend, home: Path, worktree: Path
) -> None:
    backend.prepare(home)
    command = backend.command(request_with(backend, worktree, SERVER), home)
    assert SECRET not in "\0".join(command.argv)
    assert SECRET not in "\0".join(command.env.values())
    [path] = holding(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(holding(worktree)) == []


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda each: each.name)
def test_a_turn_without_the_server_does_not_find_its_variables(
    backend: port.AgentBackend, home: Path, worktree: Path
) -> None:
    """The policy has dropped it."""
    for servers in ((SERVER,), ()):
        backend.prepare(home)
        backend.command(request_with(backend, worktree, *servers), home)
    assert list(holding(home)) == []


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda each: each.name)
def test_the_file_replaces_what_an_agent_has_put_there(backend: port.AgentBackend, home: Path, worktree: Path) -> None:
    """A link would have the worker write the secret elsewhere; a file that all may read would keep its mode."""
    request = request_with(backend, worktree, SERVER)
    backend.prepare(home)
    backend.command(request, home)
    [path] = holding(home)
    elsewhere = worktree / "elsewhere"
    path.unlink()
    path.symlink_to(elsewhere)
    backend.command(request, home)
    assert not elsewhere.exists()
    assert [(each, each.is_symlink(), stat.S_IMODE(each.stat().st_mode)) for each in holding(home)] == [
        (path, False, 0o600)
    ]


def test_codex_obeys_no_configuration_of_the_agent_beside_a_tool_server(home: Path, worktree: Path) -> None:
    """It reads one file of its home then, so that must be ours as a whole; without a server it reads none."""
    backend = codex.CodexBackend()
    backend.prepare(home)
    (home / ".codex" / "config.toml").write_text('notify=["touch","mark"]\n')
    command = backend.command(request_with(backend, worktree, SERVER), home)
    assert "notify" not in (home / ".codex" / "config.toml").read_text()
    assert "--ignore-user-config" not in command.argv
    assert "--ignore-user-config" in backend.command(request_with(backend, worktree), home).argv
