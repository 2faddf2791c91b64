import re

import pytest

from domain import errors
from integrations.git import checks
from integrations.git.checks import Change, Commit, Range

RULES = checks.Rules()


def _work(*changes: Change, parents: tuple[str, ...] = ("p" * 40,)) -> Range:
    return Range("b" * 40, "c" * 40, (Commit("c" * 40, parents, "", (changes,)),))


def _file(path: str, mode: int = 0o100644, size: int = 1) -> Change:
    return Change(path, new_mode=mode, new_blob=path, size=size)


def _link(path: str, target: str) -> Change:
    return Change(path, new_mode=checks.SYMLINK, new_blob="x", link_target=target)


def _refusal(work: Range, rules: checks.Rules = RULES) -> str:
    with pytest.raises(errors.UnsafeWork) as refused:
        checks.check(work, rules)
    return str(refused.value)


def test_ordinary_work_passes() -> None:
    checks.check(
        _work(
            _file("src/app.py"),
            _file("run.sh", 0o100755),
            _file(".github/ISSUE_TEMPLATE.md"),
            _file(".gitignore"),
            _file("docs/.gitkeep"),
            _file("a b/ünï.txt"),
            Change("gone.py", old_mode=0o100644, old_blob="x"),
        ),
        RULES,
    )


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".GitHub/Workflows/new/deep.yml",
        "CODEOWNERS",
        ".github/CODEOWNERS",
        "docs/codeowners",
        ".claude/settings.json",
        "packages/web/.claude/settings.local.json",
        ".mcp.json",
        "sub/.mcp.json",
        ".devforge-ci.json",
        ".forgejo/workflows/x.yaml",
        "WORKFLOW.md",
        ".codex/config.toml",
        ".gemini/settings.json",
        "web/.opencode/plugin/x.js",
        "opencode.json",
        ".circleci/config.yml",
    ],
)
def test_protected_paths_are_refused(path: str) -> None:
    assert path in _refusal(_work(_file(path)))


def test_removing_a_protected_path_is_refused_too() -> None:
    assert "CODEOWNERS" in _refusal(_work(Change("CODEOWNERS", old_mode=0o100644, old_blob="x")))


@pytest.mark.parametrize(
    "path", ["docs/.devforge-ci.json", "my.claude/x", "xCODEOWNERS", "docs/WORKFLOW.md", "a/.github/workflows/x.yml"]
)
def test_similar_paths_are_free(path: str) -> None:
    checks.check(_work(_file(path)), RULES)


def test_a_policy_file_of_another_name_is_protected_at_its_place_alone() -> None:
    rules = RULES.with_file("ops/agents.md")
    assert "policy protects" in _refusal(_work(_file("ops/agents.md")), rules)
    checks.check(_work(_file("docs/ops/agents.md"), _file("agents.md")), rules)
    assert RULES.with_file("") == RULES


def test_protected_patterns_come_from_the_policy() -> None:
    rules = checks.Rules(protected=("/infra/*.tf", "secrets/"))
    assert "infra/main.tf" in _refusal(_work(_file("infra/main.tf")), rules)
    assert "secrets" in _refusal(_work(_file("a/secrets/b/c.txt")), rules)
    checks.check(_work(_file("CODEOWNERS"), _file("other/infra/main.tf")), rules)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", "/etc/passwd"),
        ("a", "../x"),
        ("a/b", "../../x"),
        ("a/b", "c/../../../x"),
        ("y", "sub/up/../../x"),
        ("a", ""),
        ("a", ".git/config"),
        ("d/a", "../.GIT/hooks"),
        ("a", "b\nc"),
    ],
)
def test_symlinks_that_may_lead_out_are_refused(path: str, target: str) -> None:
    _refusal(_work(_link(path, target)))


@pytest.mark.parametrize(
    ("path", "target"), [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/e"), ("a", "b/c"), ("a", ".")]
)
def test_symlinks_inside_the_tree_pass(path: str, target: str) -> None:
    checks.check(_work(_link(path, target)), RULES)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "a//b",
        "/etc/x",
        ".git/config",
        ".GIT/config",
        "a/.git",
        ".g\u200cit/config",
        ".git /x",
        ".git./x",
        ".git::$INDEX_ALLOCATION/x",
        "git~1/config",
        "a\\..\\..\\x",
        "a\\.git\\config",
        "a\nb",
        "a\x1b[31m",
        "a\x7f",
        "a/\udcff",
        "...\u200c/../x",
    ],
)
def test_path_tricks_are_refused(path: str) -> None:
    _refusal(_work(_file(path)))


@pytest.mark.parametrize(
    "path", [".gitmodules", ".GITMODULES", "a/.gitmodules", "gitmod~1", ".gitmodules ", ".git\u200bmodules"]
)
def test_module_files_are_refused(path: str) -> None:
    if path == ".git\u200bmodules":  # a zero width space is a character like others on every file system
        checks.check(_work(_file(path)), RULES)
        return
    assert "submodule" in _refusal(_work(_file(path)))


@pytest.mark.parametrize(
    "change",
    [
        Change("lib", new_mode=checks.GITLINK),
        Change("lib", old_mode=checks.GITLINK),
        Change("lib", old_mode=checks.GITLINK, new_mode=0o100644, new_blob="x"),
    ],
)
def test_submodule_changes_are_refused(change: Change) -> None:
    assert "submodule" in _refusal(_work(change))


def test_unknown_modes_are_refused() -> None:
    assert "106755" in _refusal(_work(_file("a", 0o106755)))


def test_commit_without_parents_is_refused() -> None:
    assert "history of its own" in _refusal(_work(_file("a"), parents=()))


def test_limits_name_the_limit() -> None:
    rules = checks.Rules(limits=checks.Limits(commits=2, files=2, file_bytes=10, total_bytes=15))
    three = tuple(Commit(str(n), ("p",), "", ((_file(f"f{n}"),),)) for n in range(3))
    assert "more than 2 commits" in _refusal(Range("b", "h", three), rules)
    assert "more than 2 changed files" in _refusal(_work(_file("a"), _file("b"), _file("c")), rules)
    assert "11 bytes, the limit is 10" in _refusal(_work(_file("a", size=11)), rules)
    assert re.search(
        "18 bytes together, the limit is 15", _refusal(_work(_file("a", size=9), _file("b", size=9)), rules)
    )


def test_a_file_that_was_taken_back_still_counts_in_its_commit() -> None:
    """What was pushed once stays readable in the history."""
    bad = Commit("1" * 40, ("p",), "", ((_file(".mcp.json"),),))
    undo = Commit("2" * 40, ("1" * 40,), "", ((Change(".mcp.json", old_mode=0o100644, old_blob="x"),),))
    assert "1111111" in _refusal(Range("b", "2", (bad, undo)))


def test_merge_answers_for_what_differs_from_every_parent() -> None:
    """Merging the base takes over its workflow changes; an own change hidden in the merge is seen."""
    theirs, own = _file(".github/workflows/ci.yml"), _file(".mcp.json")
    clean = Commit("m", ("a", "b"), "", ((theirs,), (_file("src/app.py"),)))
    assert clean.own_changes() == ()
    evil = Commit("m", ("a", "b"), "", ((theirs, own), (own,)))
    assert evil.own_changes() == (own,)
    assert ".mcp.json" in _refusal(Range("b", "m", (evil,)))


def test_long_names_are_cut_and_quoted_in_the_sentence() -> None:
    message = _refusal(_work(_file("x" * 5000 + "\x1b")))
    assert len(message) < 500
    assert "\x1b" not in message
