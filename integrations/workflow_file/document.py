"""A file in its two parts: the YAML front matter as values that know their places, and the text after it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from domain.workflow_policy import FILE_LIMIT, Code, Finding

_MARK: Final = re.compile(r"---[ \t]*")
_DEEPEST: Final = 12
_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
"""What no program takes as an argument, and no database as text; YAML writes both as escapes."""
_TAG: Final = "tag:yaml.org,2002:"

Data = str | int | float | bool | list["Node"] | Mapping[str, "Node"] | None


@dataclass(frozen=True)
class Node:
    """A value and where it stands. A member of a map stands where its key does."""

    data: Data
    line: int
    column: int = 1


@dataclass(frozen=True)
class Document:
    """`front` is None when the front matter could not be read; `findings` then say why."""

    front: Mapping[str, Node] | None
    body: str
    """Trimmed."""
    body_line: int
    """Line of the file on which `body` begins."""
    findings: tuple[Finding, ...] = ()


def split(text: str) -> Document:
    """Take a file apart. A file that does not begin with `---` is all body."""
    if len(text.encode("utf-8", "replace")) > FILE_LIMIT:
        sentence = f"the file is larger than {FILE_LIMIT} bytes, and it travels with every run: shorten it"
        return Document(None, "", 1, (Finding(code=Code.UNREADABLE, sentence=sentence),))
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not _MARK.fullmatch(lines[0]):
        return _document({}, lines, 0)
    end = next((number for number, line in enumerate(lines) if number and _MARK.fullmatch(line)), 0)
    if not end:
        sentence = "the front matter begins with --- and has no end: close it with a line that is --- alone"
        return Document(None, "", 1, (Finding(code=Code.UNREADABLE, line=1, column=1, sentence=sentence),))
    try:
        front = _front("\n".join(lines[1:end]))
    except _Unreadable as wrong:
        return _document(None, lines, end + 1, wrong.finding)
    return _document(front, lines, end + 1)


def _document(front: Mapping[str, Node] | None, lines: list[str], start: int, *findings: Finding) -> Document:
    while start < len(lines) and not lines[start].strip():
        start += 1
    body = "\n".join(lines[start:]).strip()
    if found := _NO_TEXT.search(body):
        line, sentence = start + 1 + body.count("\n", 0, found.start()), f"the prompt holds {_code_point(found)}"
        findings = (*findings, Finding(code=Code.UNREADABLE, line=line, sentence=sentence))
    return Document(front, body, start + 1, findings)


def _code_point(found: re.Match[str]) -> str:
    return f"U+{ord(found[0]):04X}, which is no text: remove it"


class _Unreadable(Exception):
    def __init__(self, code: Code, sentence: str, line: int, column: int = 1) -> None:
        super().__init__(sentence)
        self.finding = Finding(code=code, line=line, column=column, sentence=sentence)


class _Loader(yaml.SafeLoader):
    """Composes nodes without aliases (a few of them make a file endless) and not deeper than any key needs."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
            raise yaml.composer.ComposerError(
                None, None, f"*{event.anchor} repeats a value by reference, write it out", event.start_mark
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"values are nested deeper than {_DEEPEST}",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # as above
            )
        try:
            node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]  # the stubs want an int, PyYAML passes keys as well
            return node
        finally:
            self._depth -= 1


def _front(text: str) -> Mapping[str, Node]:
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return {}
            found = _node(loader, root, root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(filter(None, (error.context, error.problem))) or "the YAML cannot be read"
        line, column = (mark.line + 2, mark.column + 1) if mark else (1, 1)
        raise _Unreadable(
            Code.UNREADABLE, f"the front matter is not YAML ({words}): correct it", line, column
        ) from None
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())[:200]
        raise _Unreadable(Code.UNREADABLE, f"the front matter is not YAML ({words}): correct it", 2) from None
    if not isinstance(found.data, Mapping):
        raise _Unreadable(
            Code.NOT_A_MAP,
            f"the front matter is {kind_of(found)}, expected a map of sections such as `agent:`",
            found.line,
            found.column,
        )
    return found.data


def _node(loader: _Loader, node: yaml.Node, place: yaml.Node) -> Node:
    line, column = place.start_mark.line + 2, place.start_mark.column + 1  # the line of `---`, and from 1
    data: Data
    if isinstance(node, yaml.MappingNode):
        data = _members(loader, node)
    elif isinstance(node, yaml.SequenceNode):
        data = [_node(loader, item, item) for item in node.value]
    else:
        data = _scalar(loader, node, line, column)
    return Node(data, line, column)


def _members(loader: _Loader, node: yaml.MappingNode) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for key, value in node.value:
        line, column = key.start_mark.line + 2, key.start_mark.column + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _Unreadable(Code.UNREADABLE, "a key is no plain text: write `name: value`", line, column)
        name = _plain(str(key.value), line, column)
        if name in found:
            first = found[name].line
            raise _Unreadable(
                Code.UNREADABLE, f"the key '{name}' stands here and on line {first}: keep one of the two", line, column
            )
        found[name] = _node(loader, value, key)
    return found


def _scalar(loader: _Loader, node: yaml.Node, line: int, column: int) -> Data:
    text = str(node.value)
    try:
        if node.tag == f"{_TAG}null":
            return None
        if node.tag == f"{_TAG}bool":
            return bool(loader.construct_yaml_bool(node))  # type: ignore[arg-type]  # a scalar: the caller has looked
        if node.tag == f"{_TAG}int":
            return int(loader.construct_yaml_int(node))  # type: ignore[arg-type]  # as above
        if node.tag == f"{_TAG}float":
            return float(loader.construct_yaml_float(node))  # type: ignore[arg-type]  # as above
    except ValueError:
        raise _Unreadable(Code.UNREADABLE, f"'{text[:40]}' is no number that can be read", line, column) from None
    if node.tag in {f"{_TAG}str", f"{_TAG}timestamp"}:
        return _plain(text, line, column)
    raise _Unreadable(Code.UNREADABLE, f"the tag {node.tag[:60]} is not read: write a plain value", line, column)


def _plain(text: str, line: int, column: int) -> str:
    if found := _NO_TEXT.search(text):
        raise _Unreadable(Code.UNREADABLE, f"a value holds {_code_point(found)}", line, column)
    return text


def kind_of(node: Node) -> str:
    """What the value is, for a sentence."""
    if isinstance(node.data, str):
        return "text"
    if isinstance(node.data, Mapping):
        return "a map"
    if isinstance(node.data, list):
        return "a list"
    return {bool: "true or false", int: "a number", float: "a number"}.get(type(node.data), "nothing")
