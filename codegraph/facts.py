"""What one blob says, whatever path, revision or worktree holds it: definitions, words, calls and imports.

Facts are a pure function of (bytes, language, `EXTRACTOR`). Nothing here knows a path or a repository; what a name
refers to is decided when a revision is linked, so one changed file never makes another file's facts stale.
"""

import dataclasses
import json
import zlib

EXTRACTOR = 2
"""Version of the extraction rules. Facts of another version are never read: a rule change recomputes them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """One named thing that a blob defines.

    Attributes:
        name: Dotted name inside the file (`Request.blueprint`); nested functions carry their parents' names.
        kind: One of `function`, `method`, `class`, `interface`, `type`, `constant`, `module`, `macro`.
        start: First line, counted from 1, decorators and attributes included.
        end: Last line, inclusive.
        signature: The declaration on one line without its body, at most 200 characters.
        bases: Names of the types that it extends or implements, as written, without arguments.
        calls: Names called or instantiated in its own lines (those of nested definitions are theirs), sorted, unique;
            the last part only (`a.b.c()` is `c`).
    """

    name: str
    kind: str
    start: int
    end: int
    signature: str = ""
    bases: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Import:
    """One import as the blob writes it, unresolved.

    Attributes:
        module: The text that names the module (`.b` and `..pkg.mod`, `./x`, `crate::a::b`, `"near.h"` without quotes,
            `<stdio.h>` with its brackets, `App\\Http`, `java.util.List`).
        names: What is taken from it (empty: the module itself or everything).
        line: Its line, counted from 1.
    """

    module: str
    names: tuple[str, ...] = ()
    line: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """Everything kept of one blob.

    Attributes:
        language: Name of the language it was read as.
        lines: Count of lines.
        definitions: In order of their first line; a parent before its children.
        chunks: One bag of words a definition, in the same order, and one more at the end for the lines that belong to
            none. A line belongs to the innermost definition around it. Keys are words as written (case kept; letters,
            digits, `_`), values are counts.
        imports: In order of lines.
        calls: Names called outside of every definition, sorted, unique.
        package: What the file says of its own package (`package x.y` of Java and Go, `namespace A\\B` of PHP and C#).
        parsed: False when no grammar could read it (missing, over its time, too large): then `chunks` is one bag of the
            whole text, and there are no definitions.
    """

    language: str
    lines: int = 0
    definitions: tuple[Definition, ...] = ()
    chunks: tuple[dict[str, int], ...] = ({},)
    imports: tuple[Import, ...] = ()
    calls: tuple[str, ...] = ()
    package: str = ""
    parsed: bool = True


def encode(facts: Facts) -> bytes:
    """Facts as compact bytes; equal facts give equal bytes."""
    rows = [
        facts.language,
        facts.lines,
        [[d.name, d.kind, d.start, d.end, d.signature, d.bases, d.calls] for d in facts.definitions],
        facts.chunks,
        [[i.module, i.names, i.line] for i in facts.imports],
        facts.calls,
        facts.package,
        facts.parsed,
    ]
    return zlib.compress(json.dumps(rows, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode(), 1)


def decode(data: bytes) -> Facts:
    """The inverse of `encode`.

    Raises:
        ValueError: The bytes are not facts (cut, or of another program).
    """
    try:
        rows = json.loads(zlib.decompress(data))
        language, lines, definitions, chunks, imports, calls, package, parsed = rows
        return Facts(
            language=language,
            lines=lines,
            definitions=tuple(Definition(n, k, s, e, g, tuple(b), tuple(c)) for n, k, s, e, g, b, c in definitions),
            chunks=tuple(chunks),
            imports=tuple(Import(module, tuple(names), line) for module, names, line in imports),
            calls=tuple(calls),
            package=package,
            parsed=parsed,
        )
    except (zlib.error, TypeError, ValueError) as error:
        raise ValueError(f"not facts of a blob: {error}") from error
