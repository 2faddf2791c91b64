"""What is shown for a program: enough to run, and not the directory it happens to lie in."""

import os
import sys
from pathlib import Path

import pytest

from sandbox import trees


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_program_of_the_system_needs_nothing_more() -> None:
    name, needed = trees.of_program("sh", "/usr/bin:/bin")
    assert (Path(name).name, needed) == ("sh", [])


def test_a_package_of_node_shows_its_packages_and_not_its_prefix(tmp_path: Path) -> None:
    real = program(tmp_path / "lib" / "node_modules" / "@who" / "agent" / "cli.js")
    link = tmp_path / "bin" / "agent"
    link.parent.mkdir()
    link.symlink_to(real)
    name, needed = trees.of_program("agent", str(link.parent))
    assert name == str(real)
    assert needed == [tmp_path / "lib" / "node_modules"]


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (".local/bin/agent", ".local/bin/agent"),
        (".local/share/agent/versions/2.1/agent", ".local/share/agent/versions/2.1/agent"),
        ("bin/agent", "bin/agent"),
        (".nvm/versions/node/v22/bin/agent", ".nvm/versions/node/v22"),
    ],
)
def test_nothing_near_a_home_directory_is_shown_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, shown: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    real = program(tmp_path / place)
    assert trees.of_program(str(real), "")[1] == [tmp_path / shown]


def test_the_interpreter_of_a_script_is_shown_with_it(tmp_path: Path) -> None:
    runtime = program(tmp_path / "opt" / "runtime" / "bin" / "node22", "\x7fELF")
    script = program(tmp_path / "opt" / "agent" / "bin" / "agent", f"#!{runtime}\n")
    assert trees.of_program(str(script), "")[1] == [tmp_path / "opt" / "agent", tmp_path / "opt" / "runtime"]


def test_a_program_of_the_worktree_is_left_alone() -> None:
    assert trees.of_program("./tool.sh", "/usr/bin") == ("./tool.sh", [])


def test_a_program_that_is_shown_anyway_keeps_its_name(tmp_path: Path) -> None:
    """A link in a virtual environment leads to an interpreter elsewhere; by its own name it finds its packages."""
    real = program(tmp_path / "python" / "bin" / "python3")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(real)
    name, _ = trees.of_program(str(tmp_path / "venv" / "bin" / "python"), "", [tmp_path / "venv"])
    assert name == str(tmp_path / "venv" / "bin" / "python")


def test_a_program_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(LookupError, match="no-such-agent is not in the PATH of this host"):
        trees.of_program("no-such-agent", "/usr/bin")


def test_what_is_below_another_tree_is_not_shown_twice() -> None:
    given = [Path("/a/b/c"), Path("/a/b"), Path("/a/bc"), Path("/d/./e")]
    assert set(trees.outermost(given)) == {Path("/a/b"), Path("/a/bc"), Path("/d/e")}


def test_an_interpreter_is_one_that_the_account_can_reach(tmp_path: Path) -> None:
    assert trees.interpreter() == Path(sys.executable).resolve()
    inside = program(tmp_path / "open" / "tool")
    for each in (tmp_path / "open", *tmp_path.parents):
        if os.access(each, os.W_OK) and each.stat().st_uid == os.geteuid() and str(each).startswith(str(tmp_path)):
            each.chmod(0o755)
    (tmp_path / "open").chmod(0o700)
    assert not trees.reachable(inside, 61000, 61000)
