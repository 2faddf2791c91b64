"""Which files stay out of the index, and which are tests: by their path, by their contents, by the tree around them."""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

RULES: Final = 1
"""Version of the rules on contents; what was decided by another one is decided again."""

_VENDORED: Final = frozenset(
    [
        *("vendor", "vendored", "_vendor", "_vendored", "third_party", "third-party", "thirdparty", "3rdparty"),
        *("node_modules", "bower_components", "jspm_packages", ".yarn", "Pods", "Carthage", ".bundle"),
        *("site-packages", ".venv", "venv", "__pycache__"),
    ]
)
_BUILT: Final = frozenset(["dist", ".next", ".nuxt", ".output", ".svelte-kit", ".turbo", "coverage"])
_BUILT_ENDINGS: Final = (".js", ".cjs", ".mjs", ".jsx", ".d.ts", ".d.mts", ".d.cts")
_MIRRORS: Final = re.compile(
    r"(?:deno|npm|jsr|node)?[-_]?(?:dist|esm|cjs|umd)\Z|(?:deno|npm)[-_](?:lib|src|build|out)\Z", re.I
)
_MINIFIABLE: Final = frozenset(["javascript", "typescript", "tsx"])
_MINIFIED_NAMES: Final = re.compile(r"[-.](?:min|bundle)\.[cm]?js\Z", re.I)
_GENERATED_NAMES: Final = re.compile(
    r"""\.pb(?:\.gw|\.validate)?\.go\Z | \.pb\.(?:cc|h)\Z | _pb2(?:_grpc)?\.pyi?\Z | [._]pb\.(?:js|ts|rb|d\.ts)\Z
      | \.g(?:\.i)?\.cs\Z | \.designer\.cs\Z | _generated\.go\Z | \Azz_generated\.
      | \.generated\.(?:cs|ts|tsx|js|rs|java)\Z""",
    re.X | re.I,
)
_GENERATED: Final = re.compile(
    rb"""\bcode\ generated\b.*\bdo\ not\ edit\b
      | (?<![\w`'"])@generated\b
      | \b(?:file|code|source|module|class|content)s?\ (?:is|was|has\ been|were|are)
        \ (?:auto(?:matically)?[- ]?)?generated\b
      | <auto-?generated\b
      | \bauto-?generated\b.*\bdo\ not\ (?:edit|modify|change)\b
      | \bdo\ not\ (?:edit|modify)\b.*\bgenerated\ (?:by|from)\b
      | \bgenerated\ (?:by|from)\b.*\bdo\ not\ (?:edit|modify)\b
      | \bgenerated\ by\ the\ protocol\ buffer\ compiler
    """,
    re.X | re.I,
)
_COMMENT: Final = (b"//", b"#", b"--", b";", b"*", b"<!--", b"<?php", b"'use strict'", b'"use strict"')
_HEAD: Final = 2_000  # bytes in which a generator says so
_LONG_LINES: Final = 250  # bytes a line on average that no person writes
_MINIFIED: Final = 3_000  # bytes of a file that is worth minifying
_MIRRORED: Final = 8

_TEST_FOLDERS: Final = re.compile(
    r"(?:.*[-_.])?(?:tests?|specs?|e2e|testdata|test-?utils|fixtures?|__mocks__|snapshots)\Z"
    r"|__(?:tests?|fixtures|snapshots|mocks)__\Z|(?:unit|integration|functional)tests?\Z",
    re.I,
)
_TEST_FILES: Final = re.compile(
    r"(?:test_.*|.*_tests?|tests?|conftest)\.(?:py|go|rs)\Z"
    r"|.*[._-](?:test|spec|tests|bench|test-d)\.(?:d\.)?[cm]?[jt]sx?\Z|tests?\.(?:d\.)?[cm]?[jt]sx?\Z"
    r"|.*_(?:spec|test)\.rb\Z|(?:test_.*|.*_tests?)\.(?:c|cc|cpp|cxx|php)\Z|.*_test\.sh\Z|.*\.bats\Z",
    re.I,
)
_TEST_CLASSES: Final = re.compile(r"(?:Test[A-Z]\w*|\w+(?:Tests?|TestCase|IT|Specs?))\.(?:java|cs|php|kt|scala)\Z")


def is_test(path: str) -> bool:
    """Whether a file is a test or serves tests only."""
    *folders, name = path.split("/")
    if folders and folders[0] in ("testing", "t"):
        return True
    return (
        any(_TEST_FOLDERS.match(folder) for folder in folders)
        or _TEST_FILES.match(name) is not None
        or (_TEST_CLASSES.match(name) is not None and "main" not in folders)
    )


def by_path(path: str) -> str:
    """Why the path alone keeps a file out; empty when it does not."""
    *folders, name = path.split("/")
    if any(folder in _VENDORED for folder in folders) or path.startswith("deps/"):
        return "vendored"
    if _MINIFIED_NAMES.search(name):
        return "minified"
    if _GENERATED_NAMES.search(name):
        return "generated"
    if name.endswith(_BUILT_ENDINGS) and any(folder in _BUILT for folder in folders):
        return "built"
    return ""


def by_contents(data: bytes, language: str) -> str:
    """Why the contents keep a file out; empty when they do not."""
    if b"\0" in data[:8_000]:
        return "binary"
    if any(_GENERATED.search(line) for line in _first_comments(data[:_HEAD])):
        return "generated"
    if language in _MINIFIABLE and len(data) > _MINIFIED and len(data) > _LONG_LINES * (data.count(b"\n") + 1):
        return "minified"
    return ""


def _first_comments(head: bytes) -> Iterator[bytes]:
    """Lines before the first line of code: what stands later may be the text that a generator writes."""
    inside = False
    for line in head.splitlines():
        text = line.strip()
        if text.startswith(b"/*"):
            inside = True
        if inside or text.startswith(_COMMENT):
            yield text
        elif text:
            return
        if b"*/" in text:
            inside = False


def mirrored(paths: Iterable[str]) -> frozenset[str]:
    """Folders that repeat a folder beside them for another runtime, as a build writes them: `deno_dist/` for `src/`.

    A folder is one of them when it is called like a build's output and at least four of five of its files, and no fewer
    than eight, lie at the same place in one other folder beside it, whatever their extension.
    """
    rows = [path.split("/") for path in paths]
    parents = {
        tuple(parts[:depth]) for parts in rows for depth in range(len(parts) - 1) if _MIRRORS.match(parts[depth])
    }
    inside: dict[tuple[str, ...], dict[str, set[str]]] = {parent: collections.defaultdict(set) for parent in parents}
    for parts in rows if parents else ():
        for depth in range(len(parts) - 1):
            if (groups := inside.get(tuple(parts[:depth]))) is not None:
                groups[parts[depth]].add("/".join(parts[depth + 1 :]).rsplit(".", 1)[0])
    return frozenset(
        "/".join((*parent, folder, ""))
        for parent, groups in inside.items()
        for folder, files in groups.items()
        if len(files) >= _MIRRORED and _MIRRORS.match(folder) and _repeats(folder, files, groups)
    )


def _repeats(folder: str, files: set[str], groups: Mapping[str, set[str]]) -> bool:
    others = (other for name, other in groups.items() if name != folder and len(other) >= _MIRRORED)
    return any(5 * len(files & other) >= 4 * len(files) for other in others)
