"""Which file an import of JavaScript or TypeScript means: by path, by alias, or as a package of the same repository."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from codegraph import facts, layout, link_paths

_ENDINGS: Final = (
    *(".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts"),
    *(".d.ts", ".d.mts", ".d.cts"),
)
"""Of two files with the same name before it, the one with the earlier ending is meant."""
_BUILTIN: Final = frozenset(
    (
        *("assert", "async_hooks", "buffer", "child_process", "cluster", "console", "constants", "crypto", "dgram"),
        *("diagnostics_channel", "dns", "domain", "events", "fs", "http", "http2", "https", "inspector", "module"),
        *("net", "os", "path", "perf_hooks", "process", "punycode", "querystring", "readline", "repl", "stream"),
        *("string_decoder", "sys", "test", "timers", "tls", "trace_events", "tty", "url", "util", "v8", "vm", "wasi"),
        *("worker_threads", "zlib"),
    )
)


class Resolver:
    """The JavaScript and TypeScript files of one revision."""

    def __init__(self, paths: Iterable[str], known: layout.Layout) -> None:
        self._paths = frozenset(paths)
        self._stems: dict[str, str] = {}
        for ending in reversed(_ENDINGS):
            for path in paths:
                if path.endswith(ending):
                    self._stems[path[: -len(ending)]] = path
        self._packages = {package.folder: package for package in known.scripts}
        self._by_name: dict[str, list[layout.Script]] = {}
        for package in known.scripts:
            self._by_name.setdefault(package.name, []).append(package)
        self._aliases = known.aliases
        self._known: dict[tuple[str, str], Sequence[str]] = {}

    def resolve(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The file that one import means."""
        folder = link_paths.folder_of(path)
        module = each.module.partition("?")[0].rpartition("!")[2]  # what bundlers are told besides is no path
        if module.startswith("."):
            base = link_paths.joined(folder, module)
            found = None if base is None else self._file(base) or self._at(base)
            return (found,) if found else ()
        asked = (folder, module)
        known = self._known.get(asked)
        if known is None:
            found = self._named(folder, module)
            known = self._known[asked] = (found,) if found else ()
        return known

    def _file(self, base: str) -> str | None:
        """The file at a path that may lack its ending, or have that of what is made from it."""
        if base in self._paths:
            return base
        found = self._stems.get(base)
        if found is None:
            for ending in _ENDINGS:
                if base.endswith(ending):
                    found = found or self._stems.get(base[: -len(ending)])
        return found

    def _at(self, base: str) -> str | None:
        """The file that a folder stands for."""
        package = self._packages.get(base)
        return (self._exported(package, "") if package else None) or self._stems.get(link_paths.under(base, "index"))

    def _named(self, folder: str, module: str) -> str | None:
        above = link_paths.above(folder)
        for place in above:
            for alias in self._aliases.get(place, ()):
                if found := self._aliased(alias, module):
                    return found
        parts = module.split("/")
        if ":" in module or parts[0] in _BUILTIN:
            return None
        if parts[0] in {"@", "~", "src"}:
            return self._conventional(above, parts)
        size = 2 if module.startswith("@") else 1
        held = [
            package
            for package in self._by_name.get("/".join(parts[:size]), ())
            if not package.aside
            or f"{folder}/".startswith(f"{package.aside}/")
            or any(place in self._packages and package.name in self._packages[place].uses for place in above)
        ]
        held.sort(key=lambda package: (-link_paths.shared(package.folder, folder), package.aside, package.folder))
        return self._exported(held[0], "/".join(parts[size:])) if held else None

    def _aliased(self, alias: layout.Alias, module: str) -> str | None:
        start, star, end = alias.name.partition("*")
        if not (module.startswith(start) and module.endswith(end) if star else module == start):
            return None
        taken = module[len(start) : len(module) - len(end)] if star else ""
        for target in alias.targets:
            base = link_paths.joined("", target.replace("*", taken))
            found = None if base is None else self._file(base) or (self._at(base) if base else None)
            if found:
                return found
        return None

    def _conventional(self, above: Sequence[str], parts: Sequence[str]) -> str | None:
        """What bundlers take `@/x` and `~/x` for when nothing else is said."""
        rest = "/".join(parts[1:])
        for place in above:
            if place and place not in self._packages:
                continue
            for inner in ("src", "") if parts[0] != "src" else ("src",):
                base = "/".join(part for part in (place, inner, rest) if part)
                if found := self._file(base) or self._stems.get(f"{base}/index"):
                    return found
        return None

    def _exported(self, package: layout.Script, below: str) -> str | None:
        """The source of what a package gives to others under a path."""
        types = None
        for found in self._candidates(package, below):
            if found and not found.endswith(_ENDINGS[-3:]):
                return found
            types = types or found
        return types

    def _candidates(self, package: layout.Script, below: str) -> Iterator[str | None]:
        folder = package.folder
        for leaf in _exported(package, below):
            yield self._source(folder, leaf)
        if below:
            for base in (link_paths.under(folder, below), link_paths.under(folder, f"src/{below}")):
                yield self._file(base) or self._index(base)
            return
        yield self._index(link_paths.under(folder, "src"))
        main = link_paths.joined(folder, package.main) if package.main else None
        yield (self._file(main) or self._index(main)) if main else None
        yield self._index(folder) or self._index(link_paths.under(folder, "lib"))

    def _source(self, folder: str, leaf: str) -> str | None:
        """The file at a path of a package; of one that is built, what it is built from."""
        base = link_paths.joined(folder, leaf)
        if base is None:
            return None
        if base in self._paths:
            return base
        ending = next((ending for ending in reversed(_ENDINGS) if leaf.endswith(ending)), "")
        parts = [part for part in leaf.removesuffix(ending).split("/") if part not in {"", "."}]
        for start in range(1, len(parts)):
            rest = "/".join(parts[start:])
            for option in (f"src/{rest}", rest):
                if option != "index" and (found := self._stems.get(link_paths.under(folder, option))):
                    return found
        return self._file(base)

    def _index(self, base: str) -> str | None:
        return self._stems.get(link_paths.under(base, "index"))


def _exported(package: layout.Script, below: str) -> Iterator[str]:
    """Paths of a package that it says to be what others get under one of its names."""
    asked = f"./{below}" if below else "."
    yield from package.exports.get(asked, ())
    if below:
        for name, leaves in package.exports.items():
            start, star, end = name.partition("*")
            if star and asked.startswith(start) and asked.endswith(end) and len(asked) >= len(start) + len(end):
                taken = asked[len(start) : len(asked) - len(end)]
                yield from (leaf.replace("*", taken) for leaf in leaves)
