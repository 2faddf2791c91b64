"""`fettle repo check` says every mistake of a WORKFLOW.md with its line, and asks nobody."""

from pathlib import Path

import pytest

from tests.cli.world import say

WRONG = "---\nagent:\n  max_turn: 3\nhooks:\n  timeout_ms: 0\nworkspace: {root: /x}\n---\n{{ issue.titel }}\n"
RIGHT = "---\ntracker:\n  labels: [ready]\nagent:\n  command: claude\n  max_turns: 3\n---\nFix {{ issue.identifier }}\n"


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "WORKFLOW.md"
    path.write_text(WRONG)
    found = say("repo", "check", str(path))
    assert found.code == 1
    assert found.out.splitlines() == [
        f"{path}:3: mistake: 'max_turn' is no key of agent: did you mean 'max_turns'? [workflow_unknown_key]",
        f"{path}:5: mistake: hooks.timeout_ms is 0, expected a whole number from 1 to 7200000 [workflow_invalid_value]",
        f"{path}:6: note: workspace.root has no effect: agent hosts keep the worktrees of their runs in their own "
        "state directory [no_effect]",
        found.out.splitlines()[3],
        f"{path}: 3 mistakes, 1 note: runs would not use this version",
    ]
    assert found.out.splitlines()[3].startswith(f"{path}:8: mistake: issue has no 'titel', there are assignees,")


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "WORKFLOW.md").write_text(RIGHT)
    monkeypatch.chdir(tmp_path)
    found = say("repo", "check")
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0] == "WORKFLOW.md: no mistakes, 0 notes"
    assert [line.split(maxsplit=1) for line in lines[1:]] == [
        ["tracker.labels", "ready"],
        ["agent.backend", "claude"],
        ["agent.max_turns", "3"],
        ["prompt", "26 characters"],
    ]


def test_json_tells_the_same(tmp_path: Path) -> None:
    path = tmp_path / "WORKFLOW.md"
    path.write_text(WRONG)
    found = say("repo", "check", str(path), "--json")
    assert found.code == 1
    assert found.json["usable"] is False
    assert [(each["code"], each["line"], each["key"]) for each in found.json["mistakes"]] == [
        ("workflow_unknown_key", 3, "agent.max_turn"),
        ("workflow_invalid_value", 5, "hooks.timeout_ms"),
        ("template_render_error", 8, ""),
    ]
    assert [each["key"] for each in found.json["notes"]] == ["workspace.root"]
    path.write_text(RIGHT)
    found = say("repo", "check", str(path), "--json", "--prompt")
    assert (found.code, found.json["usable"], found.json["mistakes"]) == (0, True, [])
    assert found.json["settings"]["agent"]["max_turns"] == 3
    assert "Fix acme/api#12" in found.json["prompt"]


def test_the_prompt_of_an_example_issue_can_be_seen(tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(RIGHT)
    assert "Fix acme/api#12" in say("repo", "check", str(tmp_path), "--prompt").out


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, "missing_workflow_file", "there is no file"),
        (b"\xff\xfe", "workflow_parse_error", "is not UTF-8"),
        (b"---\n- a\n---\n", "workflow_front_matter_not_a_map", "is a list"),
        (b"---\na: [\n---\n", "workflow_parse_error", "is not YAML"),
        (b"{% if %}", "template_parse_error", "correct it"),
        (b"{{ nobody }}", "template_render_error", "'nobody' is unknown"),
    ],
)
def test_each_kind_of_mistake_has_its_code(tmp_path: Path, content: bytes | None, code: str, words: str) -> None:
    path = tmp_path / "WORKFLOW.md"
    if content is not None:
        path.write_bytes(content)
    found = say("repo", "check", str(path), "--json")
    assert found.code == 1
    (mistake,) = found.json["mistakes"]
    assert mistake["code"] == code
    assert words in mistake["sentence"]


def test_a_control_character_in_a_file_does_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text('---\nagent:\n  "max\\e[31m": 3\n---\n')
    found = say("repo", "check", str(tmp_path))
    assert found.code == 1
    assert "\x1b" not in found.out


def test_a_file_that_is_too_large_is_told_so_whatever_character_the_limit_cuts(tmp_path: Path) -> None:
    path = tmp_path / "WORKFLOW.md"
    path.write_text("€" * 30_000, encoding="utf-8")
    found = say("repo", "check", str(path))
    assert found.code == 1
    assert "larger than 65536 bytes" in found.out
