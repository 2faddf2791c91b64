"""Changes that no person makes: a question about them has an answer, and costs no run its review."""

from pathlib import Path

import pytest

from activities import code_graph, worktree
from domain import redaction
from tests.integrations.git.lab import REPO, Lab, git

_COUNT = 900
_FOLDERS = "/".join(["tests", *("d" * 250 for _ in range(10))])


@pytest.fixture
async def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.first = made.push({"src/totals.py": "def total(lines):\n    return sum(lines)\n"})
    return made


async def test_more_changed_tests_than_one_command_line_can_name_are_looked_up(lab: Lab) -> None:
    paths = [f"{_FOLDERS}/test_{number}.py" for number in range(_COUNT)]
    blob = git(lab.person, "rev-parse", "HEAD:src/totals.py")
    rows = "".join(f"100644 {blob}\t{path}\n" for path in paths)
    git(lab.person, "update-index", "--add", "--index-info", stdin=rows.encode())
    tree = git(lab.person, "write-tree")
    head = git(lab.person, "commit-tree", tree, "-p", lab.first, "-m", "Many tests")
    git(lab.person, "push", "--quiet", "origin", f"{head}:refs/heads/main")
    await lab.mirrors.of(REPO).fetch(await worktree.remote_of(lab.forge, REPO))  # type: ignore[arg-type]  # the two methods it uses
    graph = code_graph.CodeGraph(lab.mirrors, redaction.Redactor(frozenset()))
    found = await graph.radius(REPO, lab.first, head)
    assert found.missing == ""
    assert set(found.changed_tests) == set(paths)
