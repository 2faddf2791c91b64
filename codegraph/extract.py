"""Facts of one blob: one parse, one pass of one query, then arithmetic on positions."""

import bisect
import itertools
import operator
import re
import time

import tree_sitter

from codegraph import facts, imports, languages, outline, words

_SLICE = 1 << 16
_PATIENT = 32  # times that a parser asks before the clock is read, which is a call of the kernel
_MATCHES = 1 << 16
_MAX_RUBBLE = 2_000
_MAX_TREE_DEPTH = 500
_MAX_SIGNATURE = 200

_HEAP = b"<" * 200
"""Type arguments in one another that no parser is given: each `<` may be a comparison too, and two grammars then take
gigabytes to weigh all readings, without ever asking for the time."""

_BETWEEN = bytes(c for c in range(128) if chr(c).isalnum() or chr(c) in "_.,:& \t\r\n")

_BEFORE = re.compile(r"[\w\s]{0,80}")
_COMMENTS = re.compile(r"//[^\n]*\n\s*|/\*.*?\*/\s*", re.DOTALL)
_ANNOTATIONS = re.compile(r"(?:@[\w.]+(?:\([^()]*\))?\s+|#?\[[^\[\]]*\]\s+)+")

Run = tuple[int, int, int]
"""First position, the one after the last, and the place of the definition that what is between belongs to."""


def extract(data: bytes, language: str, seconds: float = 5.0) -> facts.Facts:
    """Facts of a blob; the same bytes always give the same facts, and no bytes raise.

    Args:
        data: The blob.
        language: Name of a language of `languages.LANGUAGES`; of any other, or without its grammar, only words are
            kept.
        seconds: Work of the processor after which the parse is given up; only words are kept then. Time that others
            took from it does not count, so a busy machine finds the same. A grammar does not ask for the time
            everywhere, and some take gigabytes for crafted bytes: who reads those runs this in a process that can end.
    """
    try:
        parser, query = languages.grammar(language)
    except languages.MissingGrammarError:
        return words_only(data, language)
    if _HEAP in data.translate(None, _BETWEEN):
        return words_only(data, language)
    deadline = time.thread_time() + seconds
    asked = itertools.count(1).__next__
    # Some scanners read the byte 0 as the end of the text and try again for ever.
    text = data.replace(b"\0", b" ")
    try:
        # A byte string would be parsed without ever asking for the time.
        tree = parser.parse(
            lambda offset, _: text[offset : offset + _SLICE],
            progress_callback=lambda _, __: not asked() % _PATIENT and time.thread_time() > deadline,
        )
    except ValueError:
        parser.reset()
        return words_only(data, language)
    if _has_rubble(tree.root_node):
        return words_only(data, language)
    cursor = tree_sitter.QueryCursor(query, match_limit=_MATCHES)
    # A chain of calls is as deep as it is long, and every level of it is one more match that waits for its end.
    cursor.set_max_start_depth(_MAX_TREE_DEPTH)
    return _read(data, language, cursor.captures(tree.root_node))


def _has_rubble(root: tree_sitter.Node) -> bool:
    """Whether some error holds so many tokens in a row that a query would take the square of their count."""
    stack = [root] if root.has_error else []
    while stack:
        node = stack.pop()
        children = node.children
        if node.is_error and len(children) > _MAX_RUBBLE:
            run = 0
            for child in children:
                run = 0 if child.is_named else run + 1
                if run > _MAX_RUBBLE:
                    return True
        stack += [child for child in children if child.has_error and child.end_byte - child.start_byte > _MAX_RUBBLE]
    return False


def words_only(data: bytes, language: str) -> facts.Facts:
    """Facts of a blob that was not parsed: one bag of words, no definitions."""
    bag = words.Text(data).bag([(0, len(data))])
    return facts.Facts(language=language, lines=_line_count(data), chunks=(bag,), parsed=False)


def _line_count(data: bytes) -> int:
    return data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))


def _read(data: bytes, language: str, captures: outline.Captures) -> facts.Facts:
    found = outline.Outline(data, captures)
    lines = _Lines(data)
    rows = [lines.rows(draft) for draft in found.drafts]
    outside = _read_calls(data, captures, found.drafts)
    spans: list[list[tuple[int, int]]] = [[] for _ in range(len(found.drafts) + 1)]
    for start, end, owner in _runs([(first, last + 1) for first, last in rows], len(lines.starts) - 1):
        spans[owner].append((lines.starts[start], lines.starts[end]))
    text = words.Text(data)
    return facts.Facts(
        language=language,
        lines=_line_count(data),
        definitions=tuple(_definition(data, draft, lines, *row) for draft, row in zip(found.drafts, rows, strict=True)),
        chunks=tuple(text.bag(parts) for parts in spans),
        imports=tuple(
            itertools.chain.from_iterable(
                imports.read(language, data[start:end].decode("utf-8", "replace"), lines.row(start) + 1)
                for start, end in found.imports
            )
        ),
        calls=tuple(sorted(outside)),
        package=found.package,
    )


class _Lines:
    """Where the lines of a blob begin."""

    def __init__(self, data: bytes) -> None:
        lengths = itertools.accumulate(map(len, data.split(b"\n")))
        self.starts = [0, *map(operator.add, lengths, itertools.count(1))]

    def row(self, offset: int) -> int:
        """Line of a byte, counted from 0."""
        return bisect.bisect_right(self.starts, offset) - 1

    def rows(self, draft: outline.Draft) -> tuple[int, int]:
        """First and last line of a definition, counted from 0."""
        return self.row(draft.first), self.row(max(draft.start, draft.end - 1))


def _runs(spans: list[tuple[int, int]], end: int) -> list[Run]:
    """Cuts what is before `end` into runs, each with the place of the last span that was opened around it.

    Args:
        spans: First position and the one after the last, in the order of the first; the second of two that overlap
            wins until it ends.
        end: Where the last run ends; the place after that of the last span stands for none.
    """
    found: list[Run] = []
    stack: list[tuple[int, int]] = []
    at = 0
    for place, (first, last) in enumerate([*spans, (end, end)]):
        while stack and stack[-1][0] <= first:
            until, owner = stack.pop()
            if until > at:
                found.append((at, until, owner))
                at = until
        if first > at:
            found.append((at, first, stack[-1][1] if stack else len(spans)))
            at = first
        stack.append((last, place))
    return found


def _read_calls(data: bytes, captures: outline.Captures, drafts: list[outline.Draft]) -> set[str]:
    """Gives every call to the innermost definition around it and returns those outside of all."""
    outside: set[str] = set()
    runs = _runs([(draft.first, draft.end) for draft in drafts], len(data))
    firsts = [run[0] for run in runs]
    owners = [*(draft.calls for draft in drafts), outside]
    holders = [owners[place] for _, _, place in runs]
    plain = data.decode("ascii") if data.isascii() else None
    find, longest = bisect.bisect_right, words.LONGEST
    for capture in ("call", "component"):
        every = capture == "call"
        for node in captures.get(capture, ()):
            start, end = node.start_byte, node.end_byte
            name = data[start:end].decode("utf-8", "replace") if plain is None else plain[start:end]
            if len(name) <= longest and (every or name[:1].isupper()):
                holders[find(firsts, start) - 1].add(name)
    return outside


def _definition(data: bytes, draft: outline.Draft, lines: _Lines, first: int, last: int) -> facts.Definition:
    return facts.Definition(
        name=draft.name,
        kind=draft.kind,
        start=first + 1,
        end=last + 1,
        signature=_signature(data, draft, lines),
        bases=tuple(draft.bases),
        calls=tuple(sorted(draft.calls)),
    )


def _signature(data: bytes, draft: outline.Draft, lines: _Lines) -> str:
    node, start = draft.node, draft.start
    body = node.child_by_field_name("body")
    if body is None:
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        body = value.child_by_field_name("body") if value else None
    end = body.start_byte if body else draft.end
    text = data[start : min(end, start + 4 * _MAX_SIGNATURE)].decode("utf-8", "replace")
    text = _COMMENTS.sub("", text) if "/" in text else text
    text = text[len(annotations[0]) :] if (annotations := _ANNOTATIONS.match(text)) else text
    if body is None:
        text = text.partition("\n")[0]
    line = lines.starts[lines.row(start)]
    if line < start <= line + 80:
        before = data[line:start].decode("utf-8", "replace")
        text = before + text if _BEFORE.fullmatch(before) else text
    return " ".join(text.split()).removesuffix("{").removesuffix("=>").rstrip(" :;")[:_MAX_SIGNATURE]
