"""Which packages a revision is: the names that its own files carry once they are installed somewhere else."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from codegraph import layout
from codegraph.layout import Layout

_GEM_NAME: Final = re.compile(r"""\.name\s*=\s*["']([\w.-]+)["']""")
_MAJOR: Final = re.compile(r"/v\d+\Z")
_LEADING_MAJOR: Final = re.compile(r"\Av\d+(?:/|\Z)")
_LARGEST: Final = 1_000_000
_COMMENTS: Final = re.compile(r'("(?:\\.|[^"\\\n])*"?)|//[^\n]*|/\*.*?(?:\*/|\Z)', re.S)
_TOO_MANY: Final = re.compile(r'("(?:\\.|[^"\\\n])*"?)|,(?=\s*[}\]])')


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
        layout: Where its own modules are found.
    """

    packages: tuple[Package, ...] = ()
    names: frozenset[str] = frozenset()
    layout: Layout = dataclasses.field(default_factory=Layout, repr=False)

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
        files: Contents of `package.json`, `tsconfig.json`, `deno.json`, `Cargo.toml`, `go.mod`, `composer.json`,
            `pyproject.toml` and `*.gemspec` files by their paths.
        names: Names of the repository, such as `owner/name`.
    """
    found: set[Package] = set()
    builder = layout.Builder()
    for path in sorted(files):
        folder, _, name = path.rpartition("/")
        content = files[path][:_LARGEST]
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        data = _json(text) if name.endswith(".json") else _toml(text) if name.endswith(".toml") else {}
        builder.add(name, folder, text, data)
        if not layout.aside(folder):
            found.update(_declared(name, folder, text, data))
    own = {part for name in names for part in (name.lower(), name.lower().rsplit("/", 1)[-1]) if part}
    order = sorted(found, key=lambda each: (each.kind, each.name, each.folder, each.exact))
    return Project(tuple(order), frozenset(own), builder.layout())


def _declared(name: str, folder: str, text: str, data: Mapping[str, Any]) -> list[Package]:
    match name:
        case "package.json":
            return _named("script", folder, data.get("name"))
        case "composer.json":
            return _named("php", folder, data.get("name"))
        case "go.mod":
            module = layout.go_module(text)
            return [Package("go", module, folder)] if module else []
        case "Cargo.toml":
            return _crates(folder, data)
        case "pyproject.toml":
            return _distribution(folder, data)
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
    for plain in (str, _uncommented):  # compilers of TypeScript take comments and a comma too many
        try:
            data = json.loads(plain(text))
        except (ValueError, RecursionError):
            continue
        return data if isinstance(data, dict) else {}
    return {}


def _uncommented(text: str) -> str:
    return _TOO_MANY.sub(lambda found: found[1] or "", _COMMENTS.sub(lambda found: found[1] or " ", text))


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}


def _plain(kind: str, name: str) -> str:
    lower = name.lower()
    return lower.replace("-", "_") if kind in {"rust", "python"} else lower
