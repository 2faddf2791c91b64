"""What the captures of one blob say together: definitions with their parts, imports and the package.

Captures come with positions, and position alone decides what belongs to what: a name, an owner or a base is that of the
definition that was opened last around it. So no tree is walked, and its depth costs nothing.
"""

import dataclasses
import re

import tree_sitter

from codegraph import heritage

Captures = dict[str, list[tree_sitter.Node]]

KINDS = {
    "macro": "macro",
    "module": "module",
    "namespace": "module",
    "class": "class",
    "interface": "interface",
    "method": "method",
    "function": "function",
    "type": "type",
    "constant": "constant",
}
"""Captures that are definitions, and their kinds. The first one holds where two of them have one span."""

_SCOPES = frozenset(("macro", "module", "class", "interface", "method", "function"))
_OWNERS = frozenset(("class", "interface"))
_PARTS = ("prefix", "owner", "name", "bases", "mixin", "package", "import", "require")

MAX_DEPTH = 32
"""Definitions around one another that are told apart; what is deeper belongs to the last of them."""

MAX_DEFINITIONS = 20_000
"""Definitions of one blob; a blob with more is data, and the rest of it belongs to none."""

_MAX_NAME = 128
_MAX_BASES = 64
_MAX_IMPORTS = 5_000

_GAP = re.compile(rb"(?:\s|#[^\n]*|//[^\n]*|\b(?:abstract|declare|default|export|pub)\b)*")
_REQUIRE = re.compile(
    rb"(?:\{[^}]*\}\s*=\s*)?require\s*\(|(?:require|require_relative|load|autoload)\b|(?:source|\.)\s"
)
_REQUIRED = re.compile(rb"[\w$]+\s*=\s*require\s*\(")
_MIXIN = re.compile(rb"(?:include|extend|prepend)\s*\(?\s*")


@dataclasses.dataclass(slots=True)
class Draft:
    """A definition by its position.

    Attributes:
        kind: As in `facts.Definition`.
        scope: Whether its name goes before those of the definitions inside it.
        first: First byte, decorators and attributes included.
        start: First byte of the definition itself.
        end: Byte after its last.
        node: Its node.
        parent: Place of the definition around it in the list of all; -1 for none.
        name: Dotted name; only its own part until all are read.
        owner: Name of the type that a definition outside of it belongs to.
        bases: Names of the types that it extends.
        calls: Names that it calls.
    """

    kind: str
    scope: bool
    first: int
    start: int
    end: int
    node: tree_sitter.Node
    parent: int
    name: str = ""
    owner: str = ""
    bases: list[str] = dataclasses.field(default_factory=list)
    calls: set[str] = dataclasses.field(default_factory=set)


class Outline:
    """Definitions, imports and package of one blob.

    Attributes:
        drafts: Definitions in the order of their first byte, a parent before its children.
        imports: First and end byte of every import.
        package: What the blob says of its own package.
    """

    def __init__(self, data: bytes, captures: Captures) -> None:
        self._data = data
        self.drafts: list[Draft] = []
        self.imports: list[tuple[int, int]] = []
        self.package = ""
        self._prefix = (-1, -1)
        self._read(captures)
        self._name_all()

    def _read(self, captures: Captures) -> None:
        events: dict[tuple[int, int, int], tuple[str, tree_sitter.Node]] = {}
        for capture in KINDS:
            for node in captures.get(capture, ()):
                place = (node.start_byte, -node.end_byte, 0)
                known = events.get(place)
                # Captures come in no order: of two nodes with one span the same one must always be taken.
                if known is None or (known[0] == capture and node.kind_id < known[1].kind_id):
                    events[place] = (capture, node)
        for rank, capture in enumerate(_PARTS, 1):
            for node in captures.get(capture, ()):
                events[node.start_byte, -node.end_byte, rank] = (capture, node)
        stack: list[int] = []
        for place in sorted(events):
            capture, node = events[place]
            start, end = place[0], -place[1]
            while stack and self.drafts[stack[-1]].end <= start:
                stack.pop()
            if capture in KINDS:
                self._open(capture, start, end, node, stack)
            elif capture == "prefix":
                self._prefix = (self._prefix[0] if self._touches(start) else start, end)
            else:
                self._add_part(capture, start, end, self.drafts[stack[-1]] if stack else None)

    def _open(self, capture: str, start: int, end: int, node: tree_sitter.Node, stack: list[int]) -> None:
        first = self._prefix[0] if self._touches(start) else start
        self._prefix = (-1, -1)
        if len(stack) >= MAX_DEPTH or len(self.drafts) >= MAX_DEFINITIONS:
            return
        if capture == "constant" and _REQUIRED.match(self._data, start, end):
            return
        kind = KINDS[capture]
        parent = stack[-1] if stack else -1
        stack.append(len(self.drafts))
        self.drafts.append(Draft(kind, capture in _SCOPES, first, start, end, node, parent))

    def _touches(self, start: int) -> bool:
        """Whether nothing but space, comments and modifiers parts the last decorator from what starts here."""
        if self._prefix[0] < 0:
            return False
        gap = _GAP.match(self._data, self._prefix[1], start)
        return gap is not None and gap.end() == start

    def _add_part(self, capture: str, start: int, end: int, draft: Draft | None) -> None:
        if capture == "import" or (capture == "require" and _REQUIRE.match(self._data, start, end)):
            if len(self.imports) < _MAX_IMPORTS and (not self.imports or self.imports[-1][1] <= start):
                self.imports.append((start, end))
        elif capture == "package":
            self.package = self.package or "".join(self._text(start, end).split())
        elif draft is None:
            return
        elif capture == "name":
            draft.name = draft.name or self._own_name(start, end)
        elif capture == "owner":
            draft.owner = draft.owner or self._own_name(start, end)
        elif capture == "mixin":
            word = _MIXIN.match(self._data, start, end)
            if word:
                self._add_bases(draft, word.end(), end)
        elif capture == "bases":
            self._add_bases(draft, start, end)

    def _add_bases(self, draft: Draft, start: int, end: int) -> None:
        for base in heritage.read(self._text(start, min(end, start + heritage.LONGEST))):
            if base not in draft.bases and len(draft.bases) < _MAX_BASES:
                draft.bases.append(base)

    def _text(self, start: int, end: int) -> str:
        return self._data[start:end].decode("utf-8", "replace")

    def _own_name(self, start: int, end: int) -> str:
        text = self._text(start, min(end, start + 4 * _MAX_NAME)).strip("'\"` \n")
        if not text.isidentifier():
            text = " ".join(heritage.bare(text).replace("::", ".").split())
        return text[:_MAX_NAME].strip(".")

    def _name_all(self) -> None:
        """Drops what has no name and puts the names of the definitions around it before each name."""
        places: list[int] = []
        kept: list[Draft] = []
        for draft in self.drafts:
            draft.parent = places[draft.parent] if draft.parent >= 0 else -1
            if not draft.name:
                places.append(draft.parent)
                continue
            places.append(len(kept))
            kept.append(draft)
            above = draft.parent
            while above >= 0 and not kept[above].scope:
                above = kept[above].parent
            outer = kept[above].name if above >= 0 else ""
            if draft.kind == "function" and (draft.owner or (above >= 0 and kept[above].kind in _OWNERS)):
                draft.kind = "method"
            draft.name = ".".join(part for part in (outer, draft.owner, draft.name) if part)
        self.drafts = kept
