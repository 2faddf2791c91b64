"""Files of ours that run as an installed package: in `site-packages`, `node_modules`, a module cache, a registry."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from codegraph import agreement, foreign, project

SURE: Final = 0.8
_COMMON: Final = frozenset([
    "test", "tests", "testing", "docs", "doc", "example", "examples", "scripts", "tools", "setup", "conftest",
    "utils", "benchmarks", "src", "lib",
])  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A file that may be the one.

    Attributes:
        path: The file.
        confidence: From 0 to 1, before anything is known of the function.
        agreed: Count of parts of the path that agree.
        exact: Whether the package's declared name says so, and not only a folder or the repository's name.
        reason: Why.
    """

    path: str
    confidence: float
    agreed: int
    exact: bool
    reason: str


def find(
    root: foreign.Root, paths: Sequence[str], known: project.Project, evidence: agreement.Evidence
) -> Iterator[Found]:
    """Files among `paths` (of the same name) that an installed path may mean; none when the package is not ours."""
    if root.kind == "python":
        yield from _python(root, paths, evidence)
    elif root.kind == "go":
        yield from _go(root, paths, known)
    else:
        declared = _declared(root, known)
        below = [found for package in declared for found in _below(root, paths, package)]
        yield from below
        if _called_so(root.package, known) and not below:
            yield from _by_repository(root, paths, strict=any(package.exact for package in declared))


def _python(root: foreign.Root, paths: Sequence[str], evidence: agreement.Evidence) -> Iterator[Found]:
    if root.rest[0].removesuffix(".py") not in evidence.tops:
        return
    wanted = "/".join(root.rest)
    for path in paths:
        found = agreement.align(root.rest, path)
        if found is None or found.above or found.built:
            continue
        module = ".".join(evidence.import_path(path))
        same = module.replace(".", "/") == wanted.removesuffix(".py").removesuffix("/__init__")
        if not same and (path.endswith(".py") or "/".join(found.missing) in evidence.packages):
            continue
        common = root.package in _COMMON or len(root.rest) == 1
        yield Found(path, 0.5 if common else 0.95, found.agreed, not common, f"package {root.package} is ours")


def _go(root: foreign.Root, paths: Sequence[str], known: project.Project) -> Iterator[Found]:
    full = [part for part in root.package.split("/") if part]
    if root.rest[: len(full)] != tuple(full):
        full += root.rest[:-1]
    import_path = "/".join(full)
    folders = known.go(import_path)
    for folder in folders:
        wanted = f"{folder}/{root.rest[-1]}" if folder else root.rest[-1]
        if wanted in paths:
            yield Found(wanted, 0.95, wanted.count("/") + 1, True, f"{import_path} is in a module of ours")
            return
    if folders:
        return
    for name in sorted(known.names):
        head, _, below = f"/{import_path}/".lower().partition(f"/{name}/")
        if "/" in name and head.count("/") <= 2:
            wanted = "/".join([*full[len(full) - len([part for part in below.split("/") if part]) :], root.rest[-1]])
            if wanted in paths:
                yield Found(wanted, 0.85, wanted.count("/") + 1, False, f"{name} is this repository")


def _declared(root: foreign.Root, known: project.Project) -> list[project.Package]:
    if root.kind == "copy":
        kinds = ("script", "rust", "ruby", "php", "python", "go")
        return [each for kind in kinds for each in known.of(kind, root.package) if each.exact]
    return known.of(root.kind, root.package)


def _called_so(package: str, known: project.Project) -> bool:
    """Whether a package is called like the repository, or like the scope that its packages share."""
    lower = package.lower().lstrip("@")
    if any(each.kind == "script" and each.name.lower().startswith(f"@{lower}/") for each in known.packages):
        return True
    return not known.names.isdisjoint({lower, lower.replace("_", "-"), lower.replace("-", "_")} - {""})


def _below(root: foreign.Root, paths: Sequence[str], package: project.Package) -> Iterator[Found]:
    """Files at the wanted place below the package's own folder."""
    prefix = f"{package.folder}/" if package.folder else ""
    reason = f"package {root.package} is ours" if package.exact else f"{package.folder} is called like the package"
    for path in paths:
        if not path.startswith(prefix):
            continue
        found = agreement.align(root.rest, path[len(prefix) :])
        if found and found.whole and not found.above:
            yield Found(path, 0.95 if package.exact else 0.75, found.agreed + 1, package.exact, reason)
        elif found and package.exact and found.agreed > 1 and (not found.above or found.layout):
            yield Found(path, 0.6, found.agreed, False, reason)


def _by_repository(root: foreign.Root, paths: Sequence[str], *, strict: bool) -> Iterator[Found]:
    """The package is called like the repository: any file whose path has the wanted end; `strict` wants all of it."""
    for path in paths:
        found = agreement.align(root.rest, path)
        if found and not found.above and (found.whole or not strict):
            sure = 0.85 if found.whole or found.agreed > 2 else 0.7
            yield Found(path, sure, found.agreed, found.whole, f"{root.package} is this repository")
