"""Where a person is sent who takes a run over."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from activities import artifact_store, turn_checkpoint
from cli import takeover
from domain import agent, implement, refs, run, work

ISSUE = refs.Repository(owner="acme", name="api").issue(12)
HOME = "/srv/a b/home"


@pytest.mark.parametrize(
    ("backend", "folder", "enter"),
    [
        ("claude", ".claude", "CLAUDE_CONFIG_DIR='/srv/a b/home/.claude' claude --resume s1"),
        ("codex", ".codex", "CODEX_HOME='/srv/a b/home/.codex' codex resume s1"),
        ("gemini", ".gemini", "HOME='/srv/a b/home' gemini --resume s1"),
        ("opencode", ".local/share/opencode", "XDG_DATA_HOME='/srv/a b/home/.local/share' opencode --session s1"),
        ("scripted", ".scripted", ""),
    ],
)
def test_the_conversation_is_entered_in_the_runs_home_and_not_in_ones_own(
    backend: str, folder: str, enter: str
) -> None:
    session = agent.Session(backend=backend, id="s1", config_dir=f"{HOME}/{folder}")
    tree = work.Worktree(path="/w", base_sha="b", head_sha="b")
    found = implement.State(run=ISSUE.workflow_id, issue=ISSUE, turns=1, session=session, worktree=tree)
    assert takeover.place(run.State(issue=ISSUE), found, session).enter == enter


async def test_a_first_turn_that_was_interrupted_has_told_its_conversation_in_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codex names its conversations itself, and where they lie is the host's: the run has heard of neither."""
    monkeypatch.setenv("FETTLE_ARTIFACTS_DIR", str(tmp_path))
    asked = agent.Session(backend="codex", id="asked")
    assert await takeover.conversation(ISSUE.workflow_id, asked) == asked
    tree = work.Worktree(path="/w", base_sha="b", head_sha="b")
    found = implement.State(run=ISSUE.workflow_id, issue=ISSUE, turns=1, session=asked, worktree=tree)
    assert takeover.place(run.State(issue=ISSUE), found, asked).enter == ""
    own = agent.Session(backend="codex", id="own", config_dir="/srv/home/.codex")
    note = turn_checkpoint.Note(
        host="h1", turn=1, asked_id="asked", progress=agent.Progress(session=own), at=datetime.now(UTC)
    )
    store = turn_checkpoint.Checkpoints(artifact_store.DirectoryStore(tmp_path), "h1")
    await store.write(ISSUE.workflow_id, note)
    known = await takeover.conversation(ISSUE.workflow_id, asked)
    assert takeover.place(run.State(issue=ISSUE), found, known).enter == "CODEX_HOME=/srv/home/.codex codex resume own"
