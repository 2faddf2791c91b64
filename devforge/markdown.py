"""A small part of Markdown as safe HTML: everything is escaped first, and no HTML of the source survives.

Blocks: paragraphs, headings, rules, quotes, lists, fenced code. Spans: code, links, bare addresses, strong, emphasis.
Comments are hidden, as on GitHub. Every pattern is bounded, so that no text takes longer than its length allows.
"""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from markupsafe import Markup, escape

_DEPTH: Final = 6
"""Quotes and lists within each other; what is deeper is shown as it was typed."""
_FENCE: Final = re.compile(r" {0,3}(```+|~~~+)[^`]*$")
_HEADING: Final = re.compile(r"(#{1,6}) +(.*)$")
_RULE: Final = re.compile(r" {0,3}([-*_])(?: *\1){2,} *$")
_QUOTE: Final = re.compile(r" {0,3}> ?")
_ITEM: Final = re.compile(r"( {0,3})([-*+]|\d{1,9}[.)])( {1,4})(?=\S)")
_TASK: Final = re.compile(r"\[([ xX])\] ")

_SLOT: Final = re.compile("\ue000(\\d+)\ue001")
"""Stands for a span that is finished while the others are made; the source is cleared of these two characters."""
_CODE: Final = re.compile(r"(?<!`)(`{1,3})(?!`)(.{1,300}?)(?<!`)\1(?!`)")
_LINK: Final = re.compile(r"\[([^\[\]\n]{1,300})\]\((https?://[^\s()<>\"'`\ue000\ue001]{1,2000})\)")
_ADDRESS: Final = re.compile(r"(?<![\w/])https?://[^\s<>\"'`()\[\]\ue000\ue001]{1,2000}")
_WHOLE: Final = r"((?:[^\n<]|<strong>[^\n<]*</strong>|<em>[^\n<]*</em>){1,300}?)"
"""Text with whole tags of the passes before: two spans that overlap must not become tags that do."""
_EMPHASIS: Final = (
    (re.compile(rf"\*\*(?=\S){_WHOLE}(?<=\S)\*\*"), "strong"),
    (re.compile(rf"(?<!\w)__(?=\S){_WHOLE}(?<=\S)__(?!\w)"), "strong"),
    (re.compile(rf"(?<![\w*])\*(?=[^\s*]){_WHOLE}(?<=[^\s*])\*(?![\w*])"), "em"),
    (re.compile(rf"(?<![\w_])_(?=[^\s_]){_WHOLE}(?<=[^\s_])_(?![\w_])"), "em"),
)


def render(source: str | None) -> Markup:
    """`source` as HTML that holds no script, no style and no address but http and https ones."""
    cleaned = (source or "").replace("\r\n", "\n").replace("\t", "    ").translate({0xE000: None, 0xE001: None})
    return Markup("".join(_blocks(_without_comments(cleaned).split("\n"), 0)))  # every piece of it is escaped below


def _without_comments(source: str) -> str:
    """Comments of fenced code stay: they are what is shown there."""
    kept, position, fence = [], 0, ""
    while (start := source.find("<!--", position)) >= 0:
        before = source[position:start]
        fence = _open_fence(before, fence)
        end = source.find("-->", start)
        if end < 0:
            break
        kept.append(before if not fence else source[position : end + 3])
        position = end + 3
    return "".join([*kept, source[position:]])


def _open_fence(text: str, fence: str) -> str:
    """The fence that is open after `text`, when `fence` was before; empty for none."""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and _closes(fence, line):
            fence = ""
    return fence


def _blocks(lines: Sequence[str], depth: int) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif fence := _FENCE.match(line):
            end = _until(lines, at + 1, functools.partial(_closes, fence[1]))
            yield f"<pre>{escape(chr(10).join(lines[at + 1 : end]))}</pre>"
            at = end + 1
        elif heading := _HEADING.match(line):
            level = min(len(heading[1]) + 2, 6)
            yield f"<h{level}>{_spans(heading[2].rstrip(' #'))}</h{level}>"
            at += 1
        elif _RULE.match(line):
            yield "<hr>"
            at += 1
        elif depth < _DEPTH and _QUOTE.match(line):
            end = _until(lines, at, lambda later: not _QUOTE.match(later))
            inner = [_QUOTE.sub("", each, count=1) for each in lines[at:end]]
            yield f"<blockquote>{''.join(_blocks(inner, depth + 1))}</blockquote>"
            at = end
        elif depth < _DEPTH and _ITEM.match(line):
            made, at = _list(lines, at, depth)
            yield made
        else:
            end = _until(lines, at + 1, lambda later: _ends_paragraph(later, depth))
            yield f"<p>{_spans(chr(10).join(lines[at:end]))}</p>"
            at = end


def _closes(fence: str, line: str) -> bool:
    return line.strip().startswith(fence)


def _until(lines: Sequence[str], start: int, stop: Callable[[str], bool]) -> int:
    """Index of the first line from `start` on that `stop` is true of, else the number of lines."""
    return next((index for index in range(start, len(lines)) if stop(lines[index])), len(lines))


def _ends_paragraph(line: str, depth: int) -> bool:
    nested = depth < _DEPTH and (_QUOTE.match(line) or _ITEM.match(line))
    return not line.strip() or bool(nested or _FENCE.match(line) or _HEADING.match(line) or _RULE.match(line))


def _list(lines: Sequence[str], at: int, depth: int) -> tuple[str, int]:
    """The list that begins at `at`, and the index of the line after it."""
    first = _ITEM.match(lines[at])
    assert first is not None  # asked before the call
    ordered = first[2][0].isdigit()
    items = []
    while at < len(lines) and (mark := _ITEM.match(lines[at])) and mark[2][0].isdigit() == ordered:
        if _RULE.match(lines[at]):
            break
        indent = mark.end()
        end = _until(lines, at + 1, functools.partial(_ends_item, indent))
        while not lines[end - 1].strip():  # empty lines at the end are not the item's
            end -= 1
        inner = [lines[at][indent:], *(line[min(indent, _indent(line)) :] for line in lines[at + 1 : end])]
        items.append(f"<li>{_item(inner, depth)}</li>")
        at = _until(lines, end, lambda later: bool(later.strip()))
    tag = "ol" if ordered else "ul"
    return f"<{tag}>{''.join(items)}</{tag}>", at


def _item(lines: list[str], depth: int) -> str:
    box = ""
    if task := _TASK.match(lines[0]):
        box, lines[0] = ("☐ " if task[1] == " " else "☑ "), lines[0][task.end() :]
    made = "".join(_blocks(lines, depth + 1))
    if made.startswith("<p>"):  # a line of a list is no paragraph of its own
        made = made.removeprefix("<p>").replace("</p>", "", 1)
    return box + made


def _ends_item(indent: int, line: str) -> bool:
    """What is neither empty nor indented as far as the item's text (or by two at least) belongs to it no more."""
    return bool(line.strip()) and _indent(line) < min(indent, 2)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _spans(text: str) -> str:
    finished: list[str] = []

    def keep(made: str) -> str:
        finished.append(made)
        return f"\ue000{len(finished) - 1}\ue001"

    def address(found: re.Match[str]) -> str:
        url = found[0].rstrip(".,;:!?*_")
        return keep(_anchor(url, str(escape(url)))) + found[0][len(url) :]

    text = _CODE.sub(lambda found: keep(f"<code>{escape(found[2].strip() or found[2])}</code>"), text)
    text = _LINK.sub(lambda found: keep(_anchor(found[2], _emphasised(str(escape(found[1]))))), text)
    text = _ADDRESS.sub(address, text)
    return _filled(_emphasised(str(escape(text))), finished)


def _filled(text: str, finished: Sequence[str]) -> str:
    """A link may hold code, which was finished before it: a slot names earlier ones only, so this ends."""
    return _SLOT.sub(lambda slot: _filled(finished[int(slot[1])], finished), text)


def _anchor(url: str, safe_text: str) -> str:
    return f'<a href="{escape(url)}" rel="nofollow noopener">{safe_text}</a>'


def _emphasised(safe: str) -> str:
    for pattern, tag in _EMPHASIS:
        safe = pattern.sub(rf"<{tag}>\1</{tag}>", safe)
    return safe
