"""How well a frame's path, module and function agree with one file of a revision."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from codegraph import callee, facts, foreign, project, spelling

_BUILT: Final = frozenset([
    "dist", "build", "out", "output", "es", "esm", "cjs", "umd", "lib", "module", "modern", "legacy", "es6", "es2015",
    "es2020", "commonjs", "types", "bundles", "compiled", ".next", "_next", "server", "static", "chunks", ".output",
    ".nuxt", ".vite-ssr", "public", ".webpack", ".vercel", "tsc-out", "js", "target", "dev", "prod",
])  # fmt: skip
_SOURCES: Final = frozenset({"src", "source", "sources", "ts", "lib"})
_LAYOUT: Final = frozenset([
    "src", "lib", "libs", "source", "sources", "python", "py", "app", "apps", "packages", "pkg", "crates", "modules",
    "services", "main", "java", "kotlin", "scala", "php", "php-src", "rust", "go", "js", "ts", "backend", "frontend",
    "server", "client", "components", "projects", "internal", "Sources",
])  # fmt: skip
_PLAIN_MODULES: Final = frozenset({"__main__", "__mp_main__", "main", "builtins"})
_STANDARD_CRATES: Final = frozenset({"std", "core", "alloc", "proc_macro", "test"})
_JVM: Final = (".java", ".kt", ".scala", ".groovy", ".clj")

SAME, ALIKE, SILENT, OTHER = 2, 1, 0, -1


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """The common end of a frame's path and a file's path.

    Attributes:
        agreed: Count of parts that agree, the file name included.
        above: Parts of the frame's path before them.
        missing: Parts of the file's path before them.
        built: Whether a build folder had to be taken for a source folder.
    """

    agreed: int
    above: tuple[str, ...]
    missing: tuple[str, ...]
    built: bool = False

    @property
    def whole(self) -> bool:
        """Whether the file's whole path agrees."""
        return not self.missing

    @property
    def layout(self) -> bool:
        """Whether the parts that are missing name no package: source folders, and one folder of a group of packages."""
        rest = [part for part in self.missing if part not in _LAYOUT]
        return len(rest) <= 1 if self.missing and self.missing[0] in _LAYOUT else not rest


def align(parts: tuple[str, ...], path: str, *, folded: bool = False) -> Match | None:
    """How the ends of two paths agree; None when the file names differ."""
    mine = tuple(path.split("/"))
    if not spelling.may_come_from(parts[-1], mine[-1]):
        return None
    loose = spelling.compiled(parts[-1])
    one, other, agreed, built = len(parts) - 1, len(mine) - 1, 1, False
    while one > 0 and other > 0:
        left, right = parts[one - 1], mine[other - 1]
        if left == right or (folded and left.lower() == right.lower()):
            one, other, agreed = one - 1, other - 1, agreed + 1
        elif loose and left in _BUILT and right in _SOURCES:
            one, other, agreed, built = one - 1, other - 1, agreed + 1, True
        elif loose and left in _BUILT and not (built and one == 1):
            one, built = one - 1, True
        elif loose and right in _SOURCES:
            other, built = other - 1, True
        else:
            break
    if loose and other and all(part in _SOURCES for part in mine[:other]) and not one:
        other, built = 0, True
    return Match(agreed, parts[:one], mine[:other], built)


class Evidence:
    """What modules and packages of one revision say about frames."""

    def __init__(self, files: Mapping[str, facts.Facts | None], known: project.Project) -> None:
        self._files = files
        self._project = known
        self.packages = frozenset(
            path.rpartition("/")[0] for path in files if path.endswith(("/__init__.py", "/__init__.pyi"))
        )
        self.imports: dict[str, list[str]] = {}
        for path in sorted(files):
            if path.endswith((".py", ".pyi", ".pyx")):
                self.imports.setdefault(".".join(self.import_path(path)), []).append(path)
        self.tops = frozenset(name.split(".", 1)[0] for name in self.imports)

    def import_path(self, path: str) -> tuple[str, ...]:
        """The dotted name that Python gives a file, as its parts."""
        parts = path.split("/")
        start = len(parts) - 1
        while start and "/".join(parts[:start]) in self.packages:
            start -= 1
        if start == len(parts) - 1:  # a folder without `__init__.py`: a namespace, or a root of imports
            start = 0
            while start < len(parts) - 1 and parts[start] in _LAYOUT:
                start += 1
        name = parts[-1].split(".", 1)[0]
        return (*parts[start:-1], *(() if name == "__init__" and start < len(parts) - 1 else (name,)))

    def of(self, path: str, module: str, called: callee.Callee, host: str) -> int:
        """What the module says of this file: `SAME`, `ALIKE`, `SILENT`, or `OTHER` when it names another one."""
        ending = PurePosixPath(path).suffix
        if ending in {".py", ".pyi", ".pyx"}:
            return self._python(path, module)
        if ending == ".go":
            return self._go(path, module, called)
        if ending == ".rs":
            return self._rust(path, called)
        if ending in _JVM or ending in {".cs", ".php", ".fs", ".vb"}:
            return self._namespace(path, module, called)
        if host:
            folders = [each.folder for each in self._project.of("script", host) if each.exact]
            return SAME if any(_under(path, folder) for folder in folders) else SILENT
        return SILENT

    def confidence(self, path: str, found: Match, says: int, known: int, in_app: bool | None, *, alone: bool) -> float:
        """How sure it is that a file with this much of its path in common is the one, from 0 to 1.

        Args:
            path: The file.
            found: What its path has in common with the frame's.
            says: What the module says of it.
            known: 1 when it defines the function, -1 when it does not, 0 when that is unknown.
            in_app: What the reporter says.
            alone: Whether no other file of the revision has the same name.
        """
        put = foreign.deployed(found.above, self._project.names)
        if says == OTHER:
            return 0.5 if found.whole and found.agreed > 2 and put and known > 0 else 0.0
        if says == SAME:
            return 0.97 if found.whole else 0.93
        if found.whole and put:
            return (0.9 if found.agreed > 1 else 0.8 + 0.1 * min(known, 0)) + 0.03 * known
        if found.whole and found.agreed > 1:
            return 0.75 + 0.03 * known if known >= 0 else 0.5 if found.agreed > 2 else 0.0
        if found.whole:
            return 0.45 if known > 0 and in_app is not False else 0.0
        if found.agreed == 1:
            return 0.4 if put and alone and known > 0 and in_app else 0.0
        if not put:
            return 0.5 if found.agreed > 2 and known > 0 else 0.0
        if "/".join(found.missing) in self.packages:
            return 0.6 if known > 0 else 0.0
        if found.layout and known >= 0:
            return 0.82 + 0.03 * known
        return 0.7 if known > 0 else 0.5 if found.agreed > 2 else 0.0

    def _python(self, path: str, module: str) -> int:
        names = tuple(part for part in module.split(".") if part)
        if not names or module in _PLAIN_MODULES or not all(part.isidentifier() for part in names):
            return SILENT
        mine = self.import_path(path)
        if names == mine or names == tuple(path.removesuffix(".py").split("/")):
            return SAME
        short = min(len(names), len(mine))
        if short and names[-short:] == mine[-short:]:
            if len(names) < len(mine):
                return ALIKE
            put = foreign.deployed(names[:-short], self._project.names)
            return (SAME if put else ALIKE) if short > 1 else (ALIKE if put else OTHER)
        return OTHER

    def _go(self, path: str, module: str, called: callee.Callee) -> int:
        package = (called.path or module).removesuffix("_test")
        folder = path.rpartition("/")[0]
        ours = self._project.go(package)
        if ours:
            return SAME if folder in ours else OTHER
        if "/" in package or "." in package:
            if self._project.has("go"):
                return OTHER
            tail = tuple(package.split("/"))
            return SAME if folder and tail[-folder.count("/") - 1 :] == tuple(folder.split("/")) else SILENT
        known = self._files.get(path)
        short = package or (called.parts[0] if len(called.parts) > 1 else "")
        if known is None or not short or short == "main":
            return SILENT
        if short == known.package:
            return ALIKE
        return OTHER if foreign.go_library(short) else SILENT

    def _rust(self, path: str, called: callee.Callee) -> int:
        if len(called.parts) < 2 or not called.parts[0][:1].islower():
            return SILENT
        crate = called.parts[0]
        mine = self._project.of("rust", crate)
        if any(_under(path, each.folder) for each in mine):
            return SAME
        if mine or crate in _STANDARD_CRATES or {crate, crate.replace("_", "-")} & self._project.names:
            return SILENT
        return OTHER if self._project.has("rust") else SILENT

    def _namespace(self, path: str, module: str, called: callee.Callee) -> int:
        dotted = module.replace("\\", ".").replace("/", ".").strip(".")
        if not dotted and len(called.parts) > 2:
            dotted = ".".join(called.parts[:-1])
        space = tuple(part.split("$")[0].split("+")[0].split("`")[0] for part in dotted.split(".")[:-1])
        if not space or not all(space):
            return SILENT
        known = self._files.get(path)
        declared = tuple(known.package.replace("\\", ".").split(".")) if known and known.package else ()
        folders = tuple(path.split("/")[:-1])
        if declared == space or folders[-len(space) :] == space:
            return SAME
        if declared and path.endswith((".cs", ".php", ".fs", ".vb")) and space[: len(declared)] == declared:
            return SAME
        return OTHER if declared else SILENT


def _under(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")
