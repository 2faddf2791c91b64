"""Which files an import of a package, a namespace or one of its types means: Go, Java, C# and PHP."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from codegraph import facts, layout, link_paths

_HOSTED: Final = 3
"""Parts of the path of a Go module on a host of repositories."""


class Go:
    """The Go packages of one revision: folders, below the names of its modules."""

    def __init__(self, known: Mapping[str, facts.Facts], found: layout.Layout) -> None:
        self._folders: dict[str, list[str]] = defaultdict(list)
        for path in known:
            if not path.endswith("_test.go"):
                self._folders[link_paths.folder_of(path)].append(path)
        self._modules = found.modules or self._guessed(known)
        self._known: dict[str, Sequence[str]] = {}

    def resolve(self, _: str, __: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The files of the package that one import means."""
        known = self._known.get(each.module)
        if known is None:
            known = self._known[each.module] = self._find(each.module)
        return known

    def _find(self, module: str) -> Sequence[str]:
        name = module
        while name:
            if name in self._modules:
                folder = "/".join(filter(None, (self._modules[name], module[len(name) + 1 :])))
                return self._folders.get(folder, ())
            name = link_paths.folder_of(name)
        return ()

    def _guessed(self, known: Mapping[str, facts.Facts]) -> Mapping[str, str]:
        """Before modules a repository had the name under which most of its own folders are imported."""
        names: Counter[str] = Counter()
        for each in known.values():
            for one in each.imports:
                parts = one.module.split("/")
                if len(parts) > _HOSTED and "." in parts[0] and "/".join(parts[_HOSTED:]) in self._folders:
                    names["/".join(parts[:_HOSTED])] += 1
        best = min(names, key=lambda name: (-names[name], name), default=None)
        return {best: ""} if best else {}


class Types:
    """Files of one language by the package or namespace that they say they are in, and by their own names."""

    def __init__(self, known: Mapping[str, facts.Facts]) -> None:
        self._packages: dict[str, list[str]] = defaultdict(list)
        self._types: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._paths = known.keys()
        for path, each in known.items():
            if each.package:
                package = each.package.replace("\\", ".")
                self._packages[package].append(path)
                self._types[package, path.rpartition("/")[2].partition(".")[0]].append(path)

    def java(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The file of a type, or those of a whole package."""
        module = each.module.removesuffix(".*")
        if module != each.module and module in self._packages:
            return self._packages[module]
        return self._type(path, module)

    def c_sharp(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The files of a namespace, or that of a type."""
        module = each.module.partition("<")[0]
        return self._packages.get(module) or self._type(path, module)

    def php(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The file that is included, or that of a type; of a function, the files of its namespace."""
        if "/" in each.module or each.module.endswith(".php"):
            return link_paths.first(self._paths, path, (each.module,))
        module = each.module.replace("\\", ".").strip(".")
        asked = [f"{module}.{name}".replace("\\", ".") for name in each.names] or [module]
        found = [hit for name in asked for hit in self._type(path, name)]
        return found or self._packages.get(module, ())

    def _type(self, path: str, module: str) -> Sequence[str]:
        """The file of a type; one inside of others is in the file of the outermost."""
        package, _, name = module.rpartition(".")
        while package:
            if hits := self._types.get((package, name)):
                return link_paths.nearest(hits, path)
            package, _, name = package.rpartition(".")
        return ()
