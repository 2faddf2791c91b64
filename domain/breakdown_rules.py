"""A spec read without a model: the stated rule by which Markdown becomes proposed issues. Pure.

Unticked checkboxes are the issues, wherever they stand; a ticked one is done. A spec without checkboxes gives its
sections: those of the highest level of which there are two, without sections that are no work by their name. A spec
without sections gives its list items. A line `Depends on: Storage layer, #12` names items by their title and issues of
the same repository by their number; a line `Labels: a, b` names labels. Code blocks are never read.
"""

import graphlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from domain import errors, refs
from domain.breakdown import (
    BODY_LIMIT,
    MOST_ITEMS,
    TITLE_LIMIT,
    Draft,
    Item,
    digest,
    item_key,
    named_issues,
    normal,
    without_dependencies,
)
from domain.brief import bounded

_FENCE: Final = re.compile(r"^ {0,3}(```+|~~~+)")
_HEADING: Final = re.compile(r"^ {0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_TASK: Final = re.compile(r"^(?P<indent>[ \t]*)(?:[-*+]|\d{1,4}[.)])\s+\[(?P<tick>[ xX])\]\s+(?P<title>\S.*)$")
_ENTRY: Final = re.compile(r"^(?P<indent>[ \t]*)(?:[-*+]|\d{1,4}[.)])\s+(?P<title>\S.*)$")
_NUMBERING: Final = re.compile(
    r"^(?:(?:step|phase|task|milestone|part|item|issue|story)\s+)?\d{1,3}(?:\.\d{1,3}){0,4}\s*[.):–—-]\s+"  # noqa: RUF001 - dashes as people type them
    r"|^(?:step|phase|task|milestone|part|item|issue|story)\s+\d{1,3}\s+",
    re.I,
)
_MARKS: Final = re.compile(r"`|(?<!\w)\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?!\w)")
_LINK: Final = re.compile(r"\[([^\]]{1,200})\]\([^)\s]{0,500}\)")
_NAMING: Final = re.compile(
    r"^\W{0,10}(?:depends on|blocked by|needs|after)[*_`]{0,3}:[*_`]{0,3}\s*(?P<names>.+)$", re.I
)
_LABELS: Final = re.compile(r"^\W{0,10}labels?[*_`]{0,3}:[*_`]{0,3}\s*(?P<names>.+)$", re.I)
_ELSEWHERE: Final = re.compile(r"(?P<repo>[\w.-]{1,100}/[\w.-]{1,100})(?:#|/(?:-/)?issues/)(?P<number>\d{1,9})\b")
_NUMBER: Final = re.compile(r"^#(\d{1,9})$")
_NO_WORK: Final = frozenset(
    {
        "abstract", "acceptance criteria", "acknowledgements", "alternatives", "alternatives considered", "appendix",
        "assumptions", "background", "changelog", "constraints", "contents", "context", "decisions", "definitions",
        "faq", "functional requirements", "further reading", "glossary", "goals", "how it works today", "introduction",
        "license", "motivation", "non goals", "non-functional requirements", "non-goals", "notes", "open questions",
        "out of scope", "overview", "prior art", "problem", "problem statement", "purpose", "rationale", "references",
        "related work", "scope", "see also", "status", "success criteria", "summary", "table of contents",
        "terminology",
    }
)  # fmt: skip  # a table of names reads better in rows
"""Sections that explain the work instead of being some."""


@dataclass
class _Part:
    """A piece of the spec that becomes an issue."""

    title: str
    lines: list[str] = field(default_factory=list)
    section: str = ""


@dataclass(frozen=True)
class _Line:
    text: str
    code: bool

    @property
    def heading(self) -> tuple[int, str] | None:
        match = None if self.code else _HEADING.match(self.text)
        return (len(match[1]), _plain(match[2])) if match else None


def draft(text: str, repo: refs.Repository) -> Draft:
    """The issues that a spec holds, by rule.

    Raises:
        errors.Refused: it holds none, or too many, depends on another repository, or runs in a circle.
    """
    lines = list(_lines(text))
    parts, left_out = _tasks(lines)
    if not parts and not left_out:
        parts, left_out = _sections(lines)
    if not parts and not left_out:
        parts = _entries(lines)
    if not parts:
        seen = f" (left out: {', '.join(left_out[:5])})" if left_out else ""
        raise errors.Refused(
            f"the spec names no work, it has {len(lines)} lines and nothing open among checkboxes, sections and lists"
            f"{seen}: give each issue a checkbox (- [ ] title)"
        )
    if len(parts) > MOST_ITEMS:
        raise errors.Refused(f"the spec holds {len(parts)} issues, at most {MOST_ITEMS} are taken: split it")
    items, warnings = _resolved(parts, repo)
    _refuse_circles(items)
    return Draft(
        items=tuple(items), by="rules", left_out=tuple(left_out[:50]), warnings=tuple(warnings), digest=digest(text)
    )


def _lines(text: str) -> Iterator[_Line]:
    fence = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _FENCE.match(line)
        mark = match[1][:3] if match else ""
        yield _Line(line, code=bool(fence or mark))
        fence = (mark if not fence else "" if mark == fence else fence) if mark else fence


def _tasks(lines: Sequence[_Line]) -> tuple[list[_Part], list[str]]:
    """Unticked checkboxes with what stands below them; a checkbox below another one is part of its text."""
    parts: list[_Part] = []
    done: list[str] = []
    section, depth, open_part = "", -1, None
    for line in lines:
        if heading := line.heading:
            section, depth, open_part = heading[1], -1, None
            continue
        task = None if line.code else _TASK.match(line.text)
        indent = _indent(line.text)
        if task and (depth < 0 or indent <= depth):
            depth, open_part = indent, None
            if task["tick"] == " ":
                open_part = _Part(_plain(task["title"]), section=section)
                parts.append(open_part)
            else:
                done.append(f"{_plain(task['title'])} (done)")
        elif depth >= 0 and line.text.strip() and indent <= depth and not line.code:
            depth, open_part = -1, None  # the text goes on beside the list
        elif open_part is not None:
            open_part.lines.append(line.text)
    return parts, done


def _sections(lines: Sequence[_Line]) -> tuple[list[_Part], list[str]]:
    levels = [heading[0] for line in lines if (heading := line.heading)]
    often = sorted({level for level in levels if levels.count(level) > 1})
    alone = sorted({level for level in levels if level > 1})
    chosen = (often or alone or [0])[0]
    parts: list[_Part] = []
    left_out: list[str] = []
    open_part: _Part | None = None
    for line in lines:
        heading = line.heading
        if heading is None or heading[0] > chosen:
            if open_part is not None:
                open_part.lines.append(line.text)
            continue
        open_part = None
        if heading[0] == chosen:
            if normal(heading[1]) in _NO_WORK:
                left_out.append(heading[1])
            else:
                open_part = _Part(heading[1])
                parts.append(open_part)
    return parts, left_out


def _entries(lines: Sequence[_Line]) -> list[_Part]:
    parts: list[_Part] = []
    depth = -1
    for line in lines:
        entry = None if line.code else _ENTRY.match(line.text)
        indent = _indent(line.text)
        if entry and (depth < 0 or indent <= depth):
            depth = indent
            parts.append(_Part(_plain(entry["title"])))
        elif parts and depth >= 0 and (indent > depth or not line.text.strip() or line.code):
            parts[-1].lines.append(line.text)
        else:
            depth = -1
    return parts


def _resolved(parts: Sequence[_Part], repo: refs.Repository) -> tuple[list[Item], list[str]]:
    keys = {normal(part.title): item_key(_short(part.title)) for part in parts}
    items: dict[str, Item] = {}
    warnings: list[str] = []
    for part in parts:
        if keys[normal(part.title)] in items:
            warnings.append(f"'{_short(part.title)}' stands twice in the spec: one issue is proposed")
            continue
        waits, labels, text = _read(part, repo)
        names = [name for name in waits if isinstance(name, str)]
        numbers = [number for number in waits if isinstance(number, int)]
        unknown = [name for name in names if normal(name) not in keys]
        warnings += [f"'{_short(part.title)}' depends on '{name}', which is no issue of this spec" for name in unknown]
        body = bounded(without_dependencies(text), BODY_LIMIT).strip()
        key = keys[normal(part.title)]
        items[key] = Item(
            key=key,
            title=_short(part.title),
            body="\n\n".join(filter(None, (_beyond(part), body))),
            labels=tuple(labels[:10]),
            depends_on=tuple(dict.fromkeys(keys[normal(name)] for name in names if name not in unknown)),
            issues=tuple(dict.fromkeys([*numbers, *named_issues(text)])),
        )
    return list(items.values()), warnings


def _read(part: _Part, repo: refs.Repository) -> tuple[list[str | int], list[str], str]:
    """What an item waits for (titles, and numbers of issues), its labels, and its text without those lines.

    Raises:
        errors.Refused: it waits for an issue of another repository.
    """
    waits: list[str | int] = []
    labels: list[str] = []
    kept: list[str] = []
    for line in _lines(textwrap.dedent("\n".join(part.lines))):
        if not line.code and (naming := _NAMING.match(line.text)):
            waits += [_waited_for(name, part, repo) for name in _split(naming["names"])]
        elif not line.code and (named := _LABELS.match(line.text)):
            labels += _split(named["names"])
        else:
            if not line.code and re.match(r"^\W*(?:depends on|blocked by|needs)\b", line.text, re.I):
                for other in _ELSEWHERE.finditer(line.text):
                    waits.append(_waited_for(other[0], part, repo))
            kept.append(line.text)
    return waits, labels, "\n".join(kept)


def _waited_for(name: str, part: _Part, repo: refs.Repository) -> str | int:
    if number := _NUMBER.match(name):
        return int(number[1])
    elsewhere = _ELSEWHERE.search(name)
    if elsewhere is None:
        return name
    if elsewhere["repo"].casefold() == str(repo).casefold():
        return int(elsewhere["number"])
    raise errors.Refused(
        f"'{_short(part.title)}' depends on {elsewhere['repo']}#{elsewhere['number']}, the breakdown is of {repo} and "
        "waits for issues of that repository alone: take the line out, or file an issue there that stands for it"
    )


def _refuse_circles(items: Sequence[Item]) -> None:
    """Raises errors.Refused with the way from an item to itself."""
    titles = {item.key: item.title for item in items}
    try:
        graphlib.TopologicalSorter({item.key: item.depends_on for item in items}).prepare()
    except graphlib.CycleError as circle:
        names = " → ".join(f"'{titles[key]}'" for key in reversed(circle.args[1]))
        raise errors.Refused(
            f"the spec runs in a circle, in which each waits for the next: {names}: take one of these lines out"
        ) from circle


def _split(names: str) -> list[str]:
    return [plain for name in re.split(r"[,;]", names) if (plain := _plain(name).strip(" .\"'“”`"))]


def _plain(title: str) -> str:
    """A title without Markdown's marks and without a number that only counts."""
    text = _MARKS.sub("", _LINK.sub(r"\1", title)).strip()
    return " ".join((_NUMBERING.sub("", text) or text).split())


def _short(title: str) -> str:
    return title if len(title) <= TITLE_LIMIT else f"{title[: TITLE_LIMIT - 1]}…"


def _beyond(part: _Part) -> str:
    """What the title alone does not tell: its whole text when that was cut, and the section it stands in."""
    whole = part.title if len(part.title) > TITLE_LIMIT else ""
    return "\n\n".join(filter(None, (whole, f"Part of “{part.section}”." if part.section else "")))


def _indent(text: str) -> int:
    expanded = text.expandtabs(4)
    return len(expanded) - len(expanded.lstrip(" "))
