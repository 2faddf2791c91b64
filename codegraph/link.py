"""Which files of a revision an import means: names are resolved by what the tree holds, without any tool chain."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from codegraph import facts

_SCRIPTS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".d.ts")
_SCRIPT_LANGUAGES = frozenset({"javascript", "typescript", "tsx"})
_VARIABLE = re.compile(r"\A\$(?:\{[^}]*\}|\w+)/")
_MOST_TARGETS = 40
"""An import that could mean more files than this (a whole package of a big repository) tells nothing of any."""


class Linker:
    """Resolves the imports of files against the paths of one revision."""

    def __init__(self, known: Mapping[str, facts.Facts]) -> None:
        self._paths = frozenset(known)
        self._by_suffix: dict[str, list[str]] = defaultdict(list)
        self._by_folder: dict[str, list[str]] = defaultdict(list)
        self._by_package: dict[str, list[str]] = defaultdict(list)
        for path in sorted(known):
            pure = PurePosixPath(path)
            parts = [*pure.parts[:-1], pure.name.split(".", 1)[0]]
            if parts[-1] in {"__init__", "index", "mod", "lib"} and len(parts) > 1:
                self._add_suffixes(parts[:-1], path)
            self._add_suffixes(parts, path)
            self._by_folder[str(pure.parent)].append(path)
            if known[path].package:
                self._by_package[known[path].package.replace("\\", ".")].append(path)

    def _add_suffixes(self, parts: list[str], path: str) -> None:
        for start in range(max(0, len(parts) - 4), len(parts)):
            self._by_suffix["/".join(parts[start:])].append(path)

    def targets(self, path: str, known: facts.Facts) -> tuple[str, ...]:
        """Files that a file's imports mean, sorted, itself left out."""
        found: set[str] = set()
        for each in known.imports:
            hits = self._resolve(path, known.language, each)
            if len(hits) <= _MOST_TARGETS:
                found.update(hits)
        found.discard(path)
        return tuple(sorted(found))

    def _resolve(self, path: str, language: str, each: facts.Import) -> Sequence[str]:
        match language:
            case "python":
                return self._python(path, each)
            case "go":
                return self._folder(each.module, path)
            case "rust":
                return self._dotted(path, each.module.replace("::", "."), each.names, {"crate", "self", "super"})
            case "java":
                whole = self._by_package.get(each.module.removesuffix(".*")) if each.module.endswith(".*") else None
                return whole or self._dotted(path, each.module, each.names, set())
            case "php" | "c-sharp":
                return self._namespaced(path, language, each)
            case "c" | "cpp":
                return self._relative(path, each.module, ("",)) or self._suffix(each.module.rsplit(".", 1)[0], path)
            case "bash":
                near = _VARIABLE.sub("./", each.module)
                here = [each.module] if each.module in self._paths else []  # as seen from the root
                return self._relative(path, near, (".sh", "")) or here or self._suffix(each.module, path)
            case "ruby":
                return self._relative(path, each.module, (".rb", "", ".sh")) or self._suffix(each.module, path)
        if language in _SCRIPT_LANGUAGES:
            return self._script(path, each)
        return ()

    def _suffix(self, dotted: str, near: str) -> list[str]:
        parts = [part for part in dotted.split("/") if part not in {"", ".", ".."}]
        for start in range(max(0, len(parts) - 4), len(parts)):
            hits = self._by_suffix.get("/".join(parts[start:]))
            if hits and (start <= max(0, len(parts) - 2) or len(parts) == 1):
                return self._nearest(hits, near)
        return []

    @staticmethod
    def _nearest(hits: list[str], near: str) -> list[str]:
        """Of several files with the same end, those that share the longest beginning with the importing one."""
        if len(hits) == 1:
            return hits
        mine = near.split("/")

        def shared(path: str) -> int:
            count = 0
            for one, other in zip(mine, path.split("/"), strict=False):
                if one != other:
                    break
                count += 1
            return count

        best = max(shared(hit) for hit in hits)
        return [hit for hit in hits if shared(hit) == best][:3]

    def _python(self, path: str, each: facts.Import) -> list[str]:
        module = each.module
        if module.startswith("."):
            dots = len(module) - len(module.lstrip("."))
            folder = PurePosixPath(path).parent
            for _ in range(dots - 1):
                folder = folder.parent
            base = "/".join([*(() if str(folder) == "." else folder.parts), *filter(None, module[dots:].split("."))])
            hits = [hit for hit in (f"{base}.py", f"{base}/__init__.py") if hit in self._paths]
            inner = [f"{base}/{name}.py" for name in each.names] + [f"{base}/{name}/__init__.py" for name in each.names]
            return [hit for hit in inner if hit in self._paths] or hits
        base = module.replace(".", "/")
        inner = [hit for name in each.names for hit in self._by_suffix.get(self._end(f"{base}/{name}"), ())]
        inner = [hit for hit in inner if hit.endswith(".py")]
        if inner:
            return self._nearest(inner, path) if len(each.names) == 1 else inner[:_MOST_TARGETS]
        return [hit for hit in self._suffix(base, path) if hit.endswith((".py", ".pyi"))]

    @staticmethod
    def _end(base: str) -> str:
        return "/".join(base.split("/")[-4:])

    def _dotted(self, path: str, module: str, names: tuple[str, ...], drop: set[str]) -> list[str]:
        parts = [part for part in module.split(".") if part and part not in drop and part != "*"]
        found: list[str] = []
        for tail in [[*parts, name] for name in names] or [parts]:
            for size in range(len(tail), max(0, len(tail) - 3), -1):
                hits = self._by_suffix.get("/".join(tail[max(0, size - 4) : size]))
                if hits:
                    found.extend(self._nearest(hits, path))
                    break
        return found

    def _namespaced(self, path: str, language: str, each: facts.Import) -> Sequence[str]:
        """A namespace, a class of one, or in PHP a file. Folders need not be called like the namespace."""
        if language == "php" and "/" in each.module and (files := self._relative(path, each.module, ("",))):
            return files
        module = each.module.replace("\\", ".").strip(".")
        package, _, name = module.rpartition(".")
        return (
            self._by_package.get(module)
            or self._dotted(path, module, each.names, set())
            or [hit for hit in self._by_package.get(package, ()) if PurePosixPath(hit).stem == name]
        )

    def _folder(self, module: str, near: str) -> list[str]:
        parts = module.split("/")
        for start in range(len(parts)):
            folder = "/".join(parts[start:])
            if folder in self._by_folder:
                return [hit for hit in self._by_folder[folder] if not hit.endswith("_test.go")]
        return []

    def _relative(self, path: str, module: str, endings: tuple[str, ...]) -> list[str]:
        base = _joined(PurePosixPath(path).parent, module)
        if base is None:
            return []
        return [hit for hit in (f"{base}{ending}" for ending in endings) if hit in self._paths][:1]

    def _script(self, path: str, each: facts.Import) -> list[str]:
        module = each.module
        if not module.startswith("."):
            if module.startswith(("@/", "~/", "src/")):
                return self._suffix(module.split("/", 1)[1], path)
            return self._suffix(module.lstrip("@"), path) if module.count("/") > 1 else []
        base = _joined(PurePosixPath(path).parent, module)
        if base is None:
            return []
        bare = (
            base.removesuffix(".js").removesuffix(".mjs").removesuffix(".jsx").removesuffix(".ts").removesuffix(".tsx")
        )
        for option in (base, *(f"{stem}{end}" for stem in (base, bare) for end in _SCRIPTS)):
            if option in self._paths:
                return [option]
        return [hit for hit in (f"{base}/index{end}" for end in _SCRIPTS) if hit in self._paths][:1]


def _joined(folder: PurePosixPath, module: str) -> str | None:
    parts = [] if str(folder) == "." else list(folder.parts)
    for part in module.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def links(known: Mapping[str, facts.Facts]) -> dict[str, tuple[str, ...]]:
    """For every file the files that it imports."""
    linker = Linker(known)
    return {path: linker.targets(path, known[path]) for path in sorted(known)}
