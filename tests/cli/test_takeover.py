"""Where a person is sent who takes a run over."""

import pytest

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
    assert takeover.place(run.State(issue=ISSUE), found).enter == enter
