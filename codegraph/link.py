"""Which files of a revision an import means: names are resolved by what the tree holds, without any tool chain.

An import leads only to files of languages that its own can import, and only where its language's rules find them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from codegraph import facts, link_packages, link_python, link_rust, link_scripts, link_searched, project
from codegraph.layout import Layout

_FAMILIES: Final = {"javascript": "script", "typescript": "script", "tsx": "script", "cpp": "c"}
"""Languages that import each other's files; each of the others imports only its own."""
_MOST_TARGETS: Final = 40
"""An import that could mean more files than this (a whole package of a big repository) tells nothing of any."""

Resolve = Callable[[str, facts.Facts, facts.Import], Sequence[str]]
"""Gives the files that an import of a file means."""


class Linker:
    """Resolves the imports of files against the files of one revision."""

    def __init__(self, known: Mapping[str, facts.Facts], found: project.Project | None = None) -> None:
        """Takes the files by path, and what the project files say of them."""
        families: dict[str, dict[str, facts.Facts]] = defaultdict(dict)
        for path in sorted(known):
            each = known[path]
            families[_FAMILIES.get(each.language, each.language)][path] = each
        layout = (found or project.Project()).layout
        made = {name: _resolver(name, files, layout) for name, files in families.items()}
        self._resolvers: dict[str, Resolve | None] = {
            name: made.get(_FAMILIES.get(name, name)) for name in sorted({each.language for each in known.values()})
        }

    def targets(self, path: str, known: facts.Facts) -> tuple[str, ...]:
        """Files that a file's imports mean, sorted, itself left out."""
        resolve = self._resolvers.get(known.language)
        if resolve is None or not known.imports:
            return ()
        found: set[str] = set()
        for each in known.imports:
            hits = resolve(path, known, each)
            if len(hits) <= _MOST_TARGETS:
                found.update(hits)
        found.discard(path)
        return tuple(sorted(found))


def _resolver(family: str, known: Mapping[str, facts.Facts], layout: Layout) -> Resolve | None:
    match family:
        case "python":
            return link_python.Resolver(known, layout).resolve
        case "script":
            return link_scripts.Resolver(known, layout).resolve
        case "go":
            return link_packages.Go(known, layout).resolve
        case "rust":
            return link_rust.Resolver(known, layout).resolve
        case "java":
            return link_packages.Types(known).java
        case "c-sharp":
            return link_packages.Types(known).c_sharp
        case "php":
            return link_packages.Types(known).php
        case "c":
            return link_searched.Headers(known).resolve
        case "ruby":
            return link_searched.Ruby(known, layout).resolve
        case "bash":
            return link_searched.Bash(known).resolve
    return None


class Links:
    """For every file of a revision the files that it imports, kept up to date as files change.

    Where an import leads is decided by which files there are, of what language and package, and by the project files:
    when all of these stay, only the files that differ are linked again.
    """

    def __init__(self) -> None:
        self._known: Mapping[str, facts.Facts] = {}
        self._project = project.Project()
        self._links: dict[str, tuple[str, ...]] = {}

    def update(self, known: Mapping[str, facts.Facts], found: project.Project) -> dict[str, tuple[str, ...]]:
        """The links of a revision with exactly these files."""
        before, self._known = self._known, known
        again = [path for path, each in known.items() if before.get(path) is not each]
        if (
            found != self._project
            or len(before) != len(known)
            or not all(path in before and _shape(before[path], found) == _shape(known[path], found) for path in again)
        ):
            again, self._links = list(known), {}
        self._project = found
        if again:
            linker = Linker(known, found)
            held = {**self._links, **{path: linker.targets(path, known[path]) for path in again}}
            self._links = {path: held[path] for path in sorted(known)}
        return self._links


def _shape(each: facts.Facts, found: project.Project) -> tuple[object, ...]:
    """What of a file decides where the imports of others lead."""
    guessed = each.language == "go" and not found.layout.modules  # its imports say what the repository is called
    return each.language, each.package, each.imports if guessed else ()


def links(known: Mapping[str, facts.Facts], found: project.Project | None = None) -> dict[str, tuple[str, ...]]:
    """For every file the files that it imports."""
    return Links().update(known, found or project.Project())
