"""Which files a Python import means: modules below the roots that an interpreter would search for the importing one."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from codegraph import facts, layout, link_paths

_KINDS: Final = ("", "src", "lib", "python")
"""Where a project may keep its packages."""
_GONE: Final = (
    *("asynchat", "asyncore", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp", "lib2to3", "mailcap"),
    *("msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu"),
    "xdrlib",
)
_STANDARD: Final = sys.stdlib_module_names.union(_GONE)


class Resolver:
    """The Python files of one revision."""

    def __init__(self, paths: Iterable[str], known: layout.Layout) -> None:
        self._modules: dict[str, str] = {}
        self._packages: set[str] = set()
        self._folders: set[str] = set()
        ranks: dict[str, int] = {}
        projects = dict.fromkeys(known.python)
        for path in paths:
            folder, _, name = path.rpartition("/")
            stem = name.partition(".")[0]
            if stem == "__init__":
                self._packages.add(folder)
                module, rank = folder, 0 if name == "__init__.py" else 3
            else:
                module, rank = f"{folder}/{stem}" if folder else stem, 4 if name.endswith(".pyi") else 1
            if ranks.get(module, 9) > rank:
                ranks[module], self._modules[module] = rank, path
            while folder and folder not in self._folders:
                self._folders.add(folder)
                folder = link_paths.folder_of(folder)
            if name == "setup.py" and not layout.aside(link_paths.folder_of(path)):
                projects.setdefault(link_paths.folder_of(path))
        projects.setdefault("")
        places = dict.fromkeys(link_paths.under(project, kind) for project in projects for kind in _KINDS if kind)
        self._projects = [place for place in (*projects, *places) if not place or place in self._folders]
        self._held: dict[str, list[str]] = {}
        self._roots: dict[tuple[str, str], list[str]] = {}

    def resolve(self, path: str, _: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The files that one import means."""
        module, folder = each.module, link_paths.folder_of(path)
        if not module.startswith("."):
            below = module.replace(".", "/")
            for root in self._searched(folder, module.partition(".")[0]):
                if found := self._named(f"{root}/{below}" if root else below, each.names):
                    return found
            return ()
        rest = module.lstrip(".")
        for _dot in range(len(module) - len(rest) - 1):
            if not folder:
                return ()
            folder = link_paths.folder_of(folder)
        return self._named(link_paths.under(folder, rest.replace(".", "/")) if rest else folder, each.names)

    def _named(self, base: str, names: tuple[str, ...]) -> Sequence[str]:
        """Modules of these names in a package; the package itself for what else is taken from it."""
        whole = self._modules.get(base)
        if not names:
            return (whole,) if whole else ()
        found = []
        lead = f"{base}/" if base else ""
        rest = False
        for name in names:
            inner = self._modules.get(lead + name)
            if inner is None:
                rest = True
            else:
                found.append(inner)
        if rest and whole:
            found.append(whole)
        return found

    def _searched(self, folder: str, top: str) -> list[str]:
        """The roots that hold a module or package of this name, in the order in which they are searched."""
        known = self._roots.get((folder, top))
        if known is None:
            known = self._roots[folder, top] = self._find(folder, top)
        return known

    def _find(self, folder: str, top: str) -> list[str]:
        root, package = folder, ""
        while root and root in self._packages:
            root, _, package = root.rpartition("/")
        if top in _STANDARD:  # the library comes first, except before what lies beside a script, or is what asks
            return [root] if (not package or package == top) and self._holds(root, top) else []
        near = [place for place in link_paths.above(root) if self._holds(place, top)]
        held = self._held.get(top)
        if held is None:
            held = self._held[top] = [place for place in self._projects if self._holds(place, top)]
        far = [place for place in held if place not in near]
        return near + sorted(far, key=lambda place: (-link_paths.shared(place, folder), place))

    def _holds(self, root: str, top: str) -> bool:
        base = f"{root}/{top}" if root else top
        return base in self._modules or base in self._folders
