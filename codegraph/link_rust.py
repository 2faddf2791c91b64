"""Which files a Rust path means: from its place in a tree of modules, or from the root of another crate."""

from collections.abc import Iterable, Sequence
from typing import Final

from codegraph import facts, layout, link_paths

_STANDARD: Final = frozenset({"std", "core", "alloc", "proc_macro", "test"})
_TARGETS: Final = frozenset({"tests", "benches", "examples"})


class Resolver:
    """The Rust files of one revision."""

    def __init__(self, paths: Iterable[str], known: layout.Layout) -> None:
        self._paths = frozenset(paths)
        self._modules = {_module(path): path for path in sorted(self._paths)}
        self._crates = {crate.folder: crate for crate in known.crates}
        self._by_name: dict[str, list[layout.Crate]] = {}
        for crate in known.crates:
            for name in crate.names:
                self._by_name.setdefault(name, []).append(crate)
        declared = {path for crate in known.crates for path in (crate.library, *crate.roots)}
        self._roots: dict[str, list[str]] = {}
        self._begin: dict[str, tuple[str, str]] = {}
        for path in sorted(self._paths):
            if path in declared or path.endswith(("/lib.rs", "/main.rs")) or self._is_target(path):
                self._roots.setdefault(link_paths.folder_of(path), []).append(path)

    def resolve(self, path: str, known: facts.Facts, each: facts.Import) -> Sequence[str]:
        """The files that one import means."""
        parts = each.module.split("::")
        head = parts[0]
        if head in {"self", "super"}:
            return self._inside(path, known, each, parts)
        if head == "crate":
            folder, file = self._root(path)
            return self._walk(folder, file, parts[1:], each.names)
        if not head:
            parts, head = parts[1:], parts[1] if len(parts) > 1 else ""
        elif f"{self._below(path)}/{head}" in self._modules:
            return self._walk(self._below(path), None, parts, each.names)
        if head in _STANDARD:
            return ()
        for crate in self._by_name.get(head, ()):
            if path.startswith(f"{crate.aside}/" if crate.aside else "") and crate.library in self._paths:
                return self._walk(link_paths.folder_of(crate.library), crate.library, parts[1:], each.names)
        folder, _ = self._root(path)
        if self._is_old(path) and link_paths.under(folder, head) in self._modules:
            return self._walk(folder, None, parts, each.names)
        return ()

    def _inside(self, path: str, known: facts.Facts, each: facts.Import, parts: list[str]) -> Sequence[str]:
        """A path that begins at the module it is written in, which may be a part of a file."""
        inner = [
            made.name.rpartition(".")[2]
            for made in known.definitions
            if made.kind == "module" and made.start <= each.line < made.end
        ]
        folder, file = self._below(path), path
        root, root_file = self._root(path)
        while parts and parts[0] in {"self", "super"}:
            if parts.pop(0) == "self":
                continue
            if inner:
                inner.pop()
            elif folder == root:
                return ()
            else:
                folder = link_paths.folder_of(folder)
                file = (root_file if folder == root else self._modules.get(folder)) or ""
        return self._walk("/".join(filter(None, (folder, *inner))), file, parts, each.names)

    def _walk(self, folder: str, file: str | None, parts: Sequence[str], names: tuple[str, ...]) -> Sequence[str]:
        """Follow modules downwards from one; what is no module is an item of the last."""
        for part in parts:
            inner = f"{folder}/{part}" if folder else part
            found = self._modules.get(inner)
            if found is None:
                return (file,) if file else ()
            folder, file = inner, found
        hits = [self._modules.get(f"{folder}/{name}" if folder else name, file) for name in names] or [file]
        return [hit for hit in hits if hit]

    def _below(self, path: str) -> str:
        """The folder of a file's own modules."""
        folder = link_paths.folder_of(path)
        return folder if path in self._roots.get(folder, ()) else _module(path)

    def _root(self, path: str) -> tuple[str, str]:
        known = self._begin.get(path)
        if known is None:
            known = self._begin[path] = self._find_root(path)
        return known

    def _find_root(self, path: str) -> tuple[str, str]:
        """Folder and file where the modules around a file begin; no file where it could be one of several."""
        folder = link_paths.folder_of(path)
        for place in link_paths.above(folder):
            roots = self._roots.get(place, ())
            if place == folder and path in roots:
                return place, path
            for name in ("lib.rs", "main.rs"):
                if (wanted := link_paths.under(place, name)) in roots:
                    return place, wanted
            if roots:
                return place, roots[0] if len(roots) == 1 else ""
            if place in self._crates:
                break
        return folder, ""

    def _is_target(self, path: str) -> bool:
        """Whether Cargo takes a file for a program or a test of its own by where it lies."""
        folder = link_paths.folder_of(path)
        holder, _, name = folder.rpartition("/")
        if name in _TARGETS:
            return holder in self._crates
        if name == "bin":
            return holder == "src" or holder.endswith("/src")
        return path.endswith("build.rs") and folder in self._crates

    def _is_old(self, path: str) -> bool:
        for place in link_paths.above(link_paths.folder_of(path)):
            if place in self._crates:
                return self._crates[place].old
        return False


def _module(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return folder if name == "mod.rs" and folder else path.removesuffix(".rs")
