"""What the repository may hold: no place of any one machine, no large file, and rooms of a readable size."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = [
    "domain",
    "workflows",
    "activities",
    "integrations",
    "sandbox",
    "codegraph",
    "store",
    "prompts",
    "workers",
    "web",
    "cli",
    "devforge",
    "evals",
]
"""The folders of the product; one that has not been built yet is left out below."""

LARGEST = 400_000  # bytes; the lock files are the largest text that belongs here
LONGEST_WORKFLOW = 400  # lines
LONGEST_MODULE = 350  # lines

# Built from parts, so that this file does not hold what it looks for.
INDEX_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("index", "crates", "io"),
    )
]
MACHINE_PATHS = ["/".join(("", *parts)) for parts in (("work", "main"), ("work", "shared"), ("tmp", "w", ""))] + [
    "/".join(("", "root", part)) for part in (".pyenv", ".claude", ".cache")
]


def _listed() -> list[Path]:
    """Every file that is tracked, or would be with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if answer.returncode != 0:
        pytest.skip("this copy of the sources is not a git checkout")
    return [path for name in answer.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _modules() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "__pycache__" not in path.parts]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("needle", [*INDEX_HOSTS, *MACHINE_PATHS])
def test_no_file_names_a_package_index_or_a_path_of_one_machine(needle: str) -> None:
    found = [_name(path) for path in _listed() if needle.encode() in path.read_bytes()]
    assert found == []


def test_no_file_is_large() -> None:
    assert [(_name(path), size) for path in _listed() if (size := path.stat().st_size) > LARGEST] == []


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-dev.txt", "deploy/constraints-build.txt"])
def test_a_lock_file_holds_exact_versions_with_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    entries = [entry for entry in re.sub(r"\\\n", " ", text).splitlines() if entry.strip() and entry[0] not in " #"]
    assert entries
    loose = [
        entry for entry in entries if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)
    ]
    assert loose == []


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert [number for number in range(1, 10) if f"\n   {number}. " not in text] == []


@pytest.mark.parametrize("room", [room for room in ROOMS if (ROOT / room).is_dir()])
def test_every_room_says_what_it_is_for(room: str) -> None:
    package = ROOT / room / "__init__.py"
    assert package.is_file(), f"{room} is no package: give it an __init__.py with its docstring"
    docstring = ast.get_docstring(ast.parse(package.read_text()))
    assert docstring, f"{room}/__init__.py: say what the room is for and what may not enter"
    assert docstring.count(".") >= 2, f"{room}/__init__.py: two sentences, what it is for and what may not enter"


def test_an_init_file_holds_a_docstring_and_no_code() -> None:
    packages = [path for path in _modules() if path.name == "__init__.py"]
    trees = {_name(path): ast.parse(path.read_text()) for path in packages}
    assert [name for name, tree in trees.items() if len(tree.body) > (ast.get_docstring(tree) is not None)] == []


def test_no_module_has_outgrown_its_concept() -> None:
    """One that is too long hides a second concept: name it and give it a module, don't split by line count."""
    lengths = {path: len(path.read_text().splitlines()) for path in _modules()}
    limits = {path: LONGEST_WORKFLOW if _name(path).startswith("workflows/") else LONGEST_MODULE for path in lengths}
    assert {_name(path): count for path, count in lengths.items() if count > limits[path]} == {}
