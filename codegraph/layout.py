"""Where the modules of a revision are found: what its project files say of packages, aliases and roots of imports.

Unlike the packages of `project`, which others may have installed, those of tests and examples count too; but only files
of the same tests or examples can mean them.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from codegraph import link_paths

ASIDE: Final = re.compile(
    r"(?:.*[-_.])?(?:tests?|specs?|e2e|testdata|fixtures?|examples?|playgrounds?|samples?|templates?|benchmarks?|docs?"
    r"|sandbox(?:es)?)|__\w+__",
    re.I,
)
"""Names of folders whose packages nobody publishes."""

_MOST: Final = 400
"""Rules of one project file that are read."""
_GO_MODULE: Final = re.compile(r'^[ \t]*module[ \t]+"?([^\s"]+)', re.M)
_GO_REPLACED: Final = re.compile(
    r"^[ \t]*(?:replace[ \t]+)?(\S{1,300})(?:[ \t]+v\S{1,100})?[ \t]*=>[ \t]*(\.{1,2}(?:/\S*)?)", re.M
)
_NEAR: Final = ("workspace:", "file:", "link:", "portal:")
_CONFIGURATION: Final = re.compile(r"[jt]sconfig(?:\.[\w.-]+)?\.json")


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """One package of JavaScript or TypeScript.

    Attributes:
        name: As others import it.
        folder: Its root.
        exports: Files, from the folder, for each path that others may import (`.`, `./sub`, `./sub/*`), best first.
        main: The file that old programs take.
        uses: Names of packages that it takes from the same repository.
        aside: Folder of tests or examples that it is part of; empty: none.
    """

    name: str
    folder: str
    exports: Mapping[str, tuple[str, ...]]
    main: str = ""
    uses: frozenset[str] = frozenset()
    aside: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Alias:
    """Names that the files below a folder may use for others.

    Attributes:
        name: What is written; one `*` stands for anything.
        targets: Paths from the root of the repository, with a `*` for the same.
    """

    name: str
    targets: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Crate:
    """One crate of Rust.

    Attributes:
        folder: Where its Cargo.toml is.
        names: What other crates call it.
        library: The file of its library.
        roots: Other files that Cargo.toml names as roots of a tree of modules.
        old: Whether its paths begin at its root, as they did until 2018.
        aside: Folder of tests or examples that it is part of; empty: none.
    """

    folder: str
    names: tuple[str, ...]
    library: str
    roots: tuple[str, ...] = ()
    old: bool = False
    aside: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What all project files of a revision say.

    Attributes:
        scripts: Packages of JavaScript and TypeScript.
        aliases: For each folder the aliases of its files, those that say most first.
        crates: Crates of Rust.
        modules: Folders of Go modules by their names.
        python: Folders of Python projects; and what they name as roots of imports.
        gems: Folders of Ruby gems.
    """

    scripts: tuple[Script, ...] = ()
    aliases: Mapping[str, tuple[Alias, ...]] = dataclasses.field(default_factory=dict)
    crates: tuple[Crate, ...] = ()
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    python: tuple[str, ...] = ()
    gems: tuple[str, ...] = ()


class Builder:
    """Makes a layout from project files, one after the other in order of their paths."""

    def __init__(self) -> None:
        self._scripts: list[Script] = []
        self._aliases: dict[str, list[Alias]] = {}
        self._crates: list[Crate] = []
        self._modules: dict[str, str] = {}
        self._replaced: dict[str, str] = {}
        self._python: dict[str, None] = {}
        self._gems: dict[str, None] = {}

    def add(self, name: str, folder: str, text: str, data: Mapping[str, Any]) -> None:
        """Take one file.

        Args:
            name: Its name.
            folder: Its folder.
            text: Its contents.
            data: The same, read as what it is; empty when it is nothing that can be read.
        """
        if name == "package.json":
            self._add_script(folder, data)
        elif name == "deno.json":
            self._alias(folder, data.get("imports"), folder)
        elif is_configuration(name):
            self._add_configuration(folder, _table(data, "compilerOptions"))
        elif name == "Cargo.toml" and isinstance(data.get("package"), dict):
            self._add_crate(folder, data)
        elif name == "go.mod":
            self._add_module(folder, text)
        elif name in {"pyproject.toml", "setup.cfg"}:
            self._add_python(folder, data)
        elif name.endswith(".gemspec"):
            self._gems[folder] = None

    def layout(self) -> Layout:
        """All that was taken."""
        aliases = {
            folder: tuple(sorted(found, key=lambda each: (-len(each.name.partition("*")[0]), each.name)))
            for folder, found in self._aliases.items()
        }
        modules = {**self._replaced, **self._modules}
        return Layout(
            tuple(self._scripts), aliases, tuple(self._crates), modules, tuple(self._python), tuple(self._gems)
        )

    def _add_script(self, folder: str, data: Mapping[str, Any]) -> None:
        self._alias(folder, data.get("imports"), folder)
        name, main = data.get("name"), data.get("main")
        exports = _exports(data.get("exports"))
        more = [data[key] for key in ("source", "types", "typings", "module") if isinstance(data.get(key), str)]
        exports["."] = (*exports.get(".", ()), *more)
        found = Script(
            name if isinstance(name, str) else "",
            folder,
            exports,
            main if isinstance(main, str) else "",
            frozenset(_near(data)),
            aside(folder),
        )
        self._scripts.append(found)

    def _add_configuration(self, folder: str, options: Mapping[str, Any]) -> None:
        base = options.get("baseUrl")
        start = link_paths.joined(folder, base) if isinstance(base, str) else folder
        if start is None:
            return
        self._alias(folder, options.get("paths"), start)
        if isinstance(base, str):
            self._alias(folder, {"*": f"{base}/*"}, folder)

    def _alias(self, folder: str, table: object, start: str) -> None:
        for name, wanted in list(table.items())[:_MOST] if isinstance(table, dict) else ():
            leaves = [link_paths.joined(start, leaf) for leaf in _leaves(wanted) if ":" not in leaf]
            targets = tuple(dict.fromkeys(leaf for leaf in leaves if leaf is not None))
            found = Alias(name, targets)
            if name.endswith("/"):  # an import map writes a beginning so
                found = Alias(f"{name}*", tuple(link_paths.under(target, "*") for target in targets))
            if name and targets and found.name.count("*") <= 1:
                self._aliases.setdefault(folder, []).append(found)

    def _add_crate(self, folder: str, data: Mapping[str, Any]) -> None:
        package, library = _table(data, "package"), _table(data, "lib")
        names = [name for name in (library.get("name"), package.get("name")) if isinstance(name, str)]
        at = library.get("path")
        declared = [
            target.get("path") for kind in ("bin", "test", "example", "bench") for target in _rows(data.get(kind))
        ]
        roots = [link_paths.joined(folder, path) for path in declared[:_MOST] if isinstance(path, str)]
        self._crates.append(
            Crate(
                folder,
                tuple(dict.fromkeys(name.replace("-", "_") for name in names[:1])),
                link_paths.joined(folder, at if isinstance(at, str) else "src/lib.rs") or "",
                tuple(root for root in roots if root),
                package.get("edition", "2015") == "2015",
                aside(folder),
            )
        )

    def _add_module(self, folder: str, text: str) -> None:
        if name := go_module(text):
            self._modules.setdefault(name, folder)
        for name, place in _GO_REPLACED.findall(text)[:_MOST]:
            if (target := link_paths.joined(folder, place)) is not None:
                self._replaced.setdefault(name, target)

    def _add_python(self, folder: str, data: Mapping[str, Any]) -> None:
        tool = _table(data, "tool")
        setuptools, packages = _table(tool, "setuptools"), _table(tool, "poetry").get("packages")
        said = [
            _table(setuptools, "package-dir").get(""),
            _table(_table(setuptools, "packages"), "find").get("where"),
            _table(_table(tool, "pytest"), "ini_options").get("pythonpath"),
            [each.get("from") for each in _rows(packages)],
        ]
        named = [link_paths.joined(folder, leaf) for each in said for leaf in _leaves(each)]
        if not aside(folder):
            self._python |= dict.fromkeys(root for root in (folder, *named) if root is not None)


def aside(folder: str) -> str:
    """The folder of tests or examples that a folder is, or is part of; empty when it is part of none."""
    parts = folder.split("/")
    for end, part in enumerate(parts, 1):
        if ASIDE.fullmatch(part):
            return "/".join(parts[:end])
    return ""


def go_module(text: str) -> str:
    """The name that a go.mod gives its module; empty when it gives none."""
    found = _GO_MODULE.search(text)
    return found[1] if found else ""


def is_configuration(name: str) -> bool:
    """Whether a file is called like the configuration of a compiler of TypeScript."""
    return _CONFIGURATION.fullmatch(name) is not None


def _exports(value: object) -> dict[str, tuple[str, ...]]:
    if isinstance(value, dict) and any(key.startswith(".") for key in value):
        return {key: tuple(_leaves(each))[:_MOST] for key, each in list(value.items())[:_MOST]}
    return {".": tuple(_leaves(value))[:_MOST]}


def _near(data: Mapping[str, Any]) -> Iterator[str]:
    """Packages that a package.json takes from beside itself."""
    for kind in ("dependencies", "devDependencies", "peerDependencies", "optionalDependencies"):
        for name, version in _table(data, kind).items():
            if isinstance(version, str) and version.startswith(_NEAR):
                yield name


def _leaves(value: object) -> Iterator[str]:
    """The texts in a value, in order."""
    stack = [value]
    for _ in range(10_000):
        if not stack:
            return
        each = stack.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            stack.extend(reversed(each.values()))
        elif isinstance(each, list):
            stack.extend(reversed(each))


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
