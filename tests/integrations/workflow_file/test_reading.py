"""A WORKFLOW.md is read as a whole: what is right becomes settings, every mistake is told at its line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import errors
from domain.agent import Autonomy, McpServer
from domain.workflow_policy import FILE_LIMIT, Code, Finding, Source
from integrations.workflow_file import keys, reading

SYMPHONY = """\
---
tracker:
  kind: github
  provider: {repo: acme/api, token: $GITHUB_TOKEN}
  required_labels: [ready]
  active_states: Todo, In Progress
  terminal_states:
    - Done
    - Closed
polling:
  interval_ms: 45000
workspace:
  root: ~/symphony_workspaces
hooks:
  after_create: |
    make deps
    make tools
  before_run: git fetch
  after_run: echo done
  before_remove: echo bye
  timeout_ms: 120000
agent:
  max_concurrent_agents: "7"
  max_turns: 20
  max_retry_backoff_ms: 300000
  max_concurrent_agents_by_state:
    " In  Progress ": 2
    Todo: 0
codex:
  command: codex app-server
  approval_policy: never
  thread_sandbox: workspace-write
  turn_sandbox_policy: {type: dangerFullAccess}
  turn_timeout_ms: 3600000
  read_timeout_ms: 5000
  stall_timeout_ms: 300000
worker:
  ssh_hosts: []
server:
  port: 4000
observability:
  dashboard_enabled: true
x-team: payments
---

Work on {{ issue.identifier }}.

{% if attempt %}This is attempt {{ attempt }}.{% endif %}
{% for label in issue.labels %}- {{ label }}
{% endfor %}
{{ issue.description }}
"""

BATON = """\
---
tracker:
  kind: github
  labels: [baton, "good first issue"]
  exclude_labels: [wip]
  assignee: "@me"
polling:
  interval_ms: 30000
agent:
  max_concurrent: 3
  max_turns: 5
  command: claude
  permission_mode: acceptEdits
  mcp_servers:
    - name: browser
      command: npx -y @playwright/mcp@latest
    - name: files
      command: /usr/bin/files
      args: ["--root", 3]
      env: {MODE: ro}
hooks:
  after_create: npm install
  timeout_ms: 60000
---
Fix #{{ issue.number }} {{ issue.title }} ({{ issue.url }})

{{ issue.body }}
"""


def mistakes(text: str) -> list[Finding]:
    return list(reading.parse(text).mistakes)


def one(text: str) -> Finding:
    (found,) = mistakes(text)
    return found


def test_a_file_of_symphony_is_read() -> None:
    parsed = reading.parse(SYMPHONY)
    assert parsed.mistakes == ()
    found = parsed.workflow
    assert found.tracker.labels == ("ready",)
    assert (found.tracker.active_states, found.tracker.terminal_states) == (("todo", "in progress"), ("done", "closed"))
    assert found.tracker.state_limits == {"in progress": 2}
    assert found.poll_seconds == 45
    assert found.hooks.after_create == "make deps\nmake tools\n"
    assert (found.hooks.before_run, found.hooks.after_run, found.hooks.before_remove) == (
        "git fetch",
        "echo done",
        "echo bye",
    )
    assert found.hooks.timeout_seconds == 120
    assert (found.agent.max_concurrent, found.agent.max_turns, found.agent.backend) == (7, 20, "codex")
    assert (found.agent.turn_seconds, found.agent.silence_seconds) == (3600, 300)
    assert found.prompt.startswith("Work on {{ issue.identifier }}.")
    assert found.prompt.endswith("{{ issue.description }}")


def test_what_symphony_has_and_fettle_does_otherwise_is_told_and_no_mistake() -> None:
    notes = {finding.key: finding.line for finding in reading.parse(SYMPHONY).findings if not finding.is_mistake}
    assert notes == {
        "tracker.provider": 4,
        "workspace.root": 13,
        "agent.max_retry_backoff_ms": 25,
        "agent.max_concurrent_agents_by_state": 28,
        "codex.command": 30,
        "codex.approval_policy": 31,
        "codex.thread_sandbox": 32,
        "codex.turn_sandbox_policy": 33,
        "codex.read_timeout_ms": 35,
        "worker.ssh_hosts": 38,
        "server.port": 40,
        "observability.dashboard_enabled": 42,
    }


def test_a_file_of_baton_is_read() -> None:
    parsed = reading.parse(BATON)
    assert parsed.findings == ()
    found = parsed.workflow
    assert found.tracker.labels == ("baton", "good first issue")
    assert (found.tracker.exclude_labels, found.tracker.assignee) == (("wip",), "@me")
    assert (found.agent.max_concurrent, found.agent.max_turns, found.agent.backend) == (3, 5, "claude")
    assert found.agent.autonomy is Autonomy.EDIT
    assert found.agent.mcp_servers == (
        McpServer(name="browser", command="npx", args=("-y", "@playwright/mcp@latest")),
        McpServer(name="files", command="/usr/bin/files", args=("--root", "3"), env={"MODE": "ro"}),
    )


def test_the_whole_file_is_the_prompt_when_it_has_no_front_matter() -> None:
    parsed = reading.parse("\n\nDo {{ issue.title }}\n\n")
    assert parsed.findings == ()
    assert parsed.workflow.prompt == "Do {{ issue.title }}"


@pytest.mark.parametrize("text", ["---\n---\n", "---\n# only a comment\n---\n", "", "---\nagent:\n---\n"])
def test_a_file_that_says_nothing_changes_nothing(text: str) -> None:
    parsed = reading.parse(text)
    assert parsed.findings == ()
    assert parsed.workflow.is_empty


def test_line_ends_of_windows_and_a_byte_order_mark_are_read() -> None:
    parsed = reading.parse("\ufeff" + BATON.replace("\n", "\r\n"))
    assert parsed.findings == ()
    assert parsed.workflow == reading.parse(BATON).workflow


@pytest.mark.parametrize(
    ("front", "code", "line", "words"),
    [
        ("- a\n- b", Code.NOT_A_MAP, 2, "is a list, expected a map"),
        ("just text", Code.NOT_A_MAP, 2, "is text, expected a map"),
        ("agent:\n  max_turns: [", Code.UNREADABLE, 3, "is not YAML"),
        ("agent:\n\tmax_turns: 1", Code.UNREADABLE, 3, "is not YAML"),
        ("agent: &a {max_turns: 1}\ncodex: *a", Code.UNREADABLE, 3, "write it out"),
        ("agent:\n  max_turns: 1\n  max_turns: 2", Code.UNREADABLE, 4, "stands here and on line 3"),
        ("agent:\n  model: !!binary aGk=", Code.UNREADABLE, 3, "the tag tag:yaml.org,2002:binary is not read"),
        ("a: " + "[" * 40 + "]" * 40, Code.UNREADABLE, 2, "nested deeper"),
        ("a: " + "[" * 30_000, Code.UNREADABLE, 2, "is not YAML"),
        ("a: " + "9" * 6000, Code.UNREADABLE, 2, "is no number"),
        ("a: \x00", Code.UNREADABLE, 2, "is not YAML"),
        ("? [a]\n: 1", Code.UNREADABLE, 2, "a key is no plain text"),
    ],
)
def test_a_front_matter_that_cannot_be_read_is_told_at_its_line(front: str, code: Code, line: int, words: str) -> None:
    found = one(f"---\n{front}\n---\nDo it\n")
    assert (found.code, found.line) == (code, line)
    assert words in found.sentence


def test_a_tag_never_makes_an_object() -> None:
    found = mistakes("---\nagent: !!python/object/apply:os.system ['touch /tmp/x']\n---\n")
    assert [each.code for each in found] == [Code.WRONG_VALUE]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('---\nagent:\n  model: "a\\0b"\n---\n', 3, "U+0000"),
        ('---\nhooks:\n  before_run: "\\ud800"\n---\n', 3, "U+D800"),
        ('---\ntracker:\n  labels:\n    - "\\ud83d"\n---\n', 4, "U+D83D"),
        ('---\nagent:\n  max_concurrent_agents_by_state:\n    "\\0": 1\n---\n', 4, "U+0000"),
        ("Work.\n\0", 2, "U+0000"),
    ],
)
def test_what_no_program_and_no_database_takes_is_told_and_not_met_in_a_run(text: str, line: int, words: str) -> None:
    (found,) = reading.parse(text, Source()).mistakes
    assert (found.code, found.line, words in found.sentence) == (Code.UNREADABLE, line, True)


def test_a_front_matter_without_an_end_is_told() -> None:
    found = one("---\nagent: {max_turns: 3}\n\nDo it\n")
    assert (found.code, found.line) == (Code.UNREADABLE, 1)
    assert "has no end" in found.sentence


def test_a_file_that_is_too_large_is_told() -> None:
    assert "larger than" in one("x" * (FILE_LIMIT + 1)).sentence


@pytest.mark.parametrize(
    ("front", "line", "words"),
    [
        ("agnet: {}", 2, "did you mean 'agent'?"),
        ("max_turns: 3", 2, "did you mean 'max_turns'?"),
        ("agent:\n  max_turn: 3", 3, "did you mean 'max_turns'?"),
        ("hooks:\n  before: x", 3, "'before' is no key of hooks"),
        ("hooks:\n  befor_run:", 3, "did you mean 'before_run'?"),
        ("agent: 3", 2, "the section 'agent' is a number"),
        ("agent:\n  max_turns: 0", 3, "agent.max_turns is 0, expected a whole number from 1 to 100"),
        ("agent:\n  max_turns: many", 3, "agent.max_turns is 'many'"),
        ("agent:\n  max_turns: true", 3, "agent.max_turns is True"),
        ("hooks:\n  timeout_ms: 0", 3, "hooks.timeout_ms is 0"),
        ("hooks:\n  before_run: [a]", 3, "hooks.before_run is a list, expected a shell script"),
        ("tracker:\n  labels: {a: b}", 3, "tracker.labels is a map"),
        ("tracker:\n  labels:\n    - a\n    - [b]", 5, "tracker.labels is a list, expected one line of text"),
        ("tracker:\n  labels: [a]\n  required_labels: [b]", 4, "mean the same: keep one"),
        ("agent:\n  command: claude\ncodex:\n  command: codex", 5, "codex.command and agent.command mean the same"),
        ("agent:\n  command: bash -c evil", 3, "expected the name of an agent"),
        ("agent:\n  permission_mode: yolo", 3, "expected one of bypassPermissions (full)"),
        ("agent:\n  mcp_servers: [{name: a}]", 3, "has no command line for the server 'a'"),
        ("agent:\n  mcp_servers:\n    - {name: a b, command: x}", 4, "without a name of letters"),
        ("agent:\n  mcp_servers: [{name: a, command: x}, {name: a, command: y}]", 3, "two servers with the name 'a'"),
        ("agent:\n  mcp_servers: [{name: a, command: x, url: y}]", 3, "a server with the key 'url'"),
        ("agent:\n  mcp_servers: [{name: a, command: x, env: {K: $HOME}}]", 3, "no variable of the agent host"),
        ("sandbox:\n  level: none", 3, "expected one of user, container, bubblewrap"),
        ("sandbox:\n  egress: [10.0.0.1]", 3, "sandbox.egress names '10.0.0.1'"),
        ("sandbox:\n  egress: ['http://a.example.com']", 3, "expected host names"),
        ("gates:\n  approval_mode: yes-please", 3, "expected one of full-auto, review-merge, review-all"),
    ],
)
def test_a_wrong_key_or_value_is_told_at_its_line(front: str, line: int, words: str) -> None:
    found = one(f"---\n{front}\n---\nDo it\n")
    assert found.line == line
    assert words in found.sentence


def test_a_tracker_that_is_not_the_forge_has_its_own_code() -> None:
    found = one("---\ntracker:\n  kind: linear\n---\n")
    assert (found.code, found.line) == (Code.TRACKER_KIND, 3)


def test_a_credential_in_the_file_is_a_mistake_and_never_repeated() -> None:
    for front in ("tracker:\n  api_key: hunter2hunter2", "tracker:\n  provider: {token: hunter2hunter2}"):
        found = one(f"---\n{front}\n---\n")
        assert "revoke it" in found.sentence
        assert "hunter2" not in found.sentence


def test_detection_of_stalls_cannot_be_switched_off() -> None:
    parsed = reading.parse("---\ncodex:\n  stall_timeout_ms: 0\n---\n")
    assert parsed.mistakes == ()
    assert "cannot be switched off" in parsed.findings[0].sentence
    assert parsed.workflow.agent.silence_seconds == 24 * 3600


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    front = "---\nagent:\n  max_turns: 0\ntrackr: {}\nhooks:\n  timeout_ms: -1\n---\n"
    body = "\n{{ nobody }}\nfine\n{{ issue.nothing }}\n"
    assert [found.line for found in mistakes(front + body)] == [3, 4, 6, 9, 11]


def test_a_file_with_mistakes_is_refused_with_its_first_ones() -> None:
    with pytest.raises(errors.WorkflowFileInvalid, match=r"line 3: agent.max_turns is 0.*: correct it") as refused:
        reading.require("---\nagent:\n  max_turns: 0\n---\n", Source(branch="main", commit_sha="a" * 40))
    assert refused.value.code == Code.WRONG_VALUE
    assert "WORKFLOW.md (main at aaaaaaaaa)" in str(refused.value)


def test_every_key_of_the_table_can_be_read() -> None:
    """A key whose place in `Workflow` does not exist would be dropped without a word."""
    values = {
        "tracker.kind": "github", "tracker.api_key": "$X", "tracker.token": "$X", "tracker.provider": "{}",
        "tracker.active_states": "[a]", "tracker.terminal_states": "[b]",
        "agent.mcp_servers": "[{name: a, command: b}]",
        "agent.max_concurrent_agents_by_state": "{todo: 1}", "agent.backend": "gemini", "agent.command": "kimi",
        "claude.command": "claude", "codex.command": "codex", "agent.permission_mode": "plan",
        "claude.permission_mode": "plan", "sandbox.level": "container", "sandbox.egress": "[a.example.com]",
        "gates.approval_mode": "review-all", "gates.merge_method": "squash", "tracker.labels": "[l]",
        "tracker.required_labels": "[l]", "tracker.exclude_labels": "[l]", "agent.allowed_tools": "[l]",
        "agent.ask_tools": "[l]", "tracker.assignee": "ada",
    }  # fmt: skip
    for name, key in keys.KEYS.items():
        section, _, leaf = name.partition(".")
        value = values.get(name, "7" if leaf.endswith("_ms") or leaf.startswith("max_") else "text")
        parsed = reading.parse(f"---\n{section}:\n  {leaf.replace('*', 'anything')}: {value}\n---\n")
        assert parsed.mistakes == (), name
        if key.into:
            assert not parsed.workflow.is_empty, name
        else:
            assert parsed.findings or name == "tracker.kind", name


@given(st.text(max_size=400))
@settings(max_examples=100, deadline=None)
def test_no_text_makes_reading_fail(text: str) -> None:
    for whole in (text, f"---\n{text}\n---\n{text}", f"---\nagent:\n  {text}\nhooks:\n  before_run: {text}\n---\n"):
        parsed = reading.parse(whole)
        assert all(finding.sentence and finding.line >= 0 for finding in parsed.findings)
        if not parsed.mistakes:
            reading.require(whole)
