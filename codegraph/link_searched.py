"""Which files an import means that is searched for in several folders: C and C++, Ruby, Bash."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from codegraph import facts, layout, link_paths

_INCLUDED: Final = re.compile(r"\w*includes?|inc|headers|public", re.I)
"""Folders whose files are meant by their names in angle brackets."""
_SOURCES: Final = frozenset({"src", "lib", "source"})
"""And those where at least a folder must be named with the file."""
_LOADED: Final = frozenset({"lib", "test", "spec", "features"})
"""Folders that programs of Ruby search."""
_VARIABLE: Final = re.compile(r"\A\$(?:\{[^}]*\}|\w+)/")
_ELSEWHERE: Final = re.compile(r"\A\$\{?(?:HOME|TMP\w*|TEMP|XDG_\w+|PREFIX|RUNNER_TEMP|PATH)\b")


class Headers:
    """The C and C++ files of one revision."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self._paths):
            self._by_name[path.rpartition("/")[2]].append(path)
        self._known: dict[str, Sequence[str]] = {}

    def resolve(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The file beside the including one, or where the programs of the repository look for it."""
        asked = each.module
        if not asked.startswith("<"):
            base = link_paths.joined(link_paths.folder_of(path), asked)
            if base in self._paths:
                return (base,) if base else ()
        known = self._known.get(asked)
        if known is None:
            known = self._known[asked] = self._find(asked.strip("<>"), strict=asked.startswith("<"))
        return link_paths.nearest(known, path)

    def _find(self, asked: str, *, strict: bool) -> Sequence[str]:
        hits = [
            path
            for path in self._by_name.get(asked.rpartition("/")[2], ())
            if path == asked or path.endswith(f"/{asked}")
        ]
        return [hit for hit in hits if _searched(hit[: -len(asked)], asked)] if strict else hits


def _searched(start: str, asked: str) -> bool:
    """Whether a folder, with `/` at its end, is one where a compiler is told to look."""
    name = start.rstrip("/").rpartition("/")[2]
    if "/" in asked and (not start or name in _SOURCES):
        return True
    return _INCLUDED.fullmatch(name) is not None


class Ruby:
    """The Ruby files of one revision, and the folders that are searched for them."""

    def __init__(self, paths: Iterable[str], known: layout.Layout) -> None:
        self._paths = frozenset(paths)
        self._gems = [link_paths.under(gem, "lib") for gem in known.gems]

    def resolve(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The file beside the requiring one when it is asked for so; else one of a folder that is searched."""
        asked = each.module if each.module.endswith(".rb") else f"{each.module}.rb"
        if asked.startswith("."):
            return link_paths.first(self._paths, path, (asked,))
        for place in link_paths.above(link_paths.folder_of(path)):
            own = place.rpartition("/")[2] in _LOADED
            for folder in (*((place,) if own else ()), *(link_paths.under(place, name) for name in sorted(_LOADED))):
                if f"{folder}/{asked}" in self._paths:
                    return (f"{folder}/{asked}",)
        hits = [f"{folder}/{asked}" for folder in self._gems if f"{folder}/{asked}" in self._paths]
        return link_paths.nearest(hits, path)


class Bash:
    """The Bash files of one revision."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._named: dict[str, list[str]] = {}
        for path in self._paths:
            self._named.setdefault(path.rpartition("/")[2], []).append(path)

    def resolve(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The file that is sourced: beside the script, or below a folder above it, as its variables may say."""
        asked = each.module
        if asked.startswith(("/", "~")) or _ELSEWHERE.match(asked):
            return ()
        rest = _VARIABLE.sub("", asked)
        if "$" in rest or not rest.strip("./"):
            return ()
        for place in link_paths.above(link_paths.folder_of(path)):
            for ending in ("", ".bash"):  # what bats loads has no ending
                base = link_paths.joined(place, f"{rest}{ending}")
                if base is not None and base in self._paths:
                    return (base,)
            if rest.startswith("."):
                break
        if rest != asked:
            known = self._named.get(rest.rpartition("/")[2], [])
            hits = [each for each in known if each.endswith(f"/{rest.removeprefix('./')}")]
            return hits if len(hits) == 1 else ()
        return link_paths.first(self._paths, path, (asked,))
