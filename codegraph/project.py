"""Which packages a revision is: the names that its own files carry once they are installed somewhere else."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

_ASIDE: Final = re.compile(
    r"(?:.*[-_.])?(?:tests?|specs?|e2e|testdata|fixtures?|examples?|playgrounds?|samples?|templates?|benchmarks?|docs?"
    r"|sandbox(?:es)?)|__\w+__",
    re.I,
)
_GO_MODULE: Final = re.compile(r'^\s*module\s+"?([^\s"]+)', re.M)
_GEM_NAME: Final = re.compile(r"""\.name\s*=\s*["']([\w.-]+)["']""")
_MAJOR: Final = re.compile(r"/v\d+\Z")
_LEADING_MAJOR: Final = re.compile(r"\Av\d+(?:/|\Z)")
_LARGEST: Final = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """One package that the revision publishes or is.

    Attributes:
        kind: `script`, `go`, `rust`, `ruby`, `php` or `python`.
        name: As its registry spells it.
        folder: Its root folder in the repository, without a `/` at its end; empty for the root.
        exact: False when the name is a guess from its folder.
    """

    kind: str
    name: str
    folder: str
    exact: bool = True


@dataclasses.dataclass(frozen=True)
class Project:
    """The packages of a revision and the names of its repository.

    Attributes:
        packages: In order of kind, name and folder.
        names: Names of the repository in lower case: `owner/name`, `name`.
    """

    packages: tuple[Package, ...] = ()
    names: frozenset[str] = frozenset()

    def of(self, kind: str, name: str) -> list[Package]:
        """Packages of one kind and name, those of an exact name first."""
        wanted = _plain(kind, name)
        found = [each for each in self.packages if each.kind == kind and _plain(kind, each.name) == wanted]
        return sorted(found, key=lambda each: (not each.exact, each.folder))

    def has(self, kind: str) -> bool:
        """Whether anything is known of one kind."""
        return any(each.kind == kind for each in self.packages)

    def go(self, path: str) -> tuple[str, ...]:
        """The folders that an import path of Go may mean, the likelier first; none when it is in no module of ours.

        A module's major version may stand behind its name or not: it says nothing of folders.
        """
        best, folders = -1, []
        for each in self.packages:
            if each.kind != "go":
                continue
            name = _MAJOR.sub("", each.name)
            for full in (each.name, name):
                if len(full) > best and (path == full or path.startswith(f"{full}/")):
                    below = path[len(full) + 1 :]
                    endings = [_LEADING_MAJOR.sub("", below), below] if full == name else [below]
                    best, folders = len(full), ["/".join(filter(None, (each.folder, ending))) for ending in endings]
        return tuple(dict.fromkeys(folders))


def read(files: Mapping[str, str | bytes], names: Iterable[str] = ()) -> Project:
    """The packages that project files declare. Files that cannot be read say nothing; none raises.

    Args:
        files: Contents of `package.json`, `Cargo.toml`, `go.mod`, `composer.json`, `pyproject.toml` and `*.gemspec`
            files by their paths.
        names: Names of the repository, such as `owner/name`.
    """
    found: set[Package] = set()
    for path in sorted(files):
        pure = PurePosixPath(path)
        if any(_ASIDE.fullmatch(part) for part in pure.parts[:-1]):
            continue
        folder = "" if str(pure.parent) == "." else str(pure.parent)
        data = files[path][:_LARGEST]
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        found.update(_declared(pure.name, folder, text))
    own = {part for name in names for part in (name.lower(), name.lower().rsplit("/", 1)[-1]) if part}
    order = sorted(found, key=lambda each: (each.kind, each.name, each.folder, each.exact))
    return Project(tuple(order), frozenset(own))


def _declared(name: str, folder: str, text: str) -> list[Package]:
    match name:
        case "package.json":
            return _named("script", folder, _json(text).get("name"))
        case "composer.json":
            return _named("php", folder, _json(text).get("name"))
        case "go.mod":
            found = _GO_MODULE.search(text)
            return [Package("go", found[1], folder)] if found else []
        case "Cargo.toml":
            return _crates(folder, _toml(text))
        case "pyproject.toml":
            return _distribution(folder, _toml(text))
    if name.endswith(".gemspec"):
        found = _GEM_NAME.search(text)
        return _named("ruby", folder, found[1] if found else name.removesuffix(".gemspec"))
    return []


def _named(kind: str, folder: str, name: object) -> list[Package]:
    """A package with its name; its folder's name is a guess at how others may call it."""
    packages = [Package(kind, name, folder)] if isinstance(name, str) and name else []
    guess = folder.rsplit("/", 1)[-1]
    if guess and guess != name:
        packages.append(Package(kind, guess, folder, exact=False))
    return packages


def _crates(folder: str, data: Mapping[str, Any]) -> list[Package]:
    package = data.get("package")
    if not isinstance(package, dict):
        return []
    packages = _named("rust", folder, package.get("name"))
    library, programs = data.get("lib"), data.get("bin")
    for target in [library, *(programs if isinstance(programs, list) else [])]:
        name = target.get("name") if isinstance(target, dict) else None
        if isinstance(name, str) and name:
            packages.append(Package("rust", name, folder))
    return packages


def _distribution(folder: str, data: Mapping[str, Any]) -> list[Package]:
    table = data.get("project")
    if not isinstance(table, dict):
        tool = data.get("tool")
        table = tool.get("poetry") if isinstance(tool, dict) else None
    name = table.get("name") if isinstance(table, dict) else None
    return [Package("python", name, folder)] if isinstance(name, str) and name else []


def _json(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}


def _plain(kind: str, name: str) -> str:
    lower = name.lower()
    return lower.replace("-", "_") if kind in {"rust", "python"} else lower
