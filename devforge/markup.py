"""Untrusted text as safe HTML: a little Markdown, and coloured diffs. Everything is escaped first."""

import re
from typing import Any

from markupsafe import Markup, escape

_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```[ \t]*$", re.M | re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_SPANS = (
    (re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w\"=/])(https?://[^\s<>&\"')]+)"), r'<a href="\1" rel="nofollow noopener">\1</a>'),
)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)


def text(source: str | None) -> Markup:
    """Paragraphs, headings, bold, code and links; HTML comments are hidden as on GitHub, other HTML is text."""
    cleaned = _COMMENT.sub("", (source or "").replace("\r\n", "\n"))
    parts, position = [], 0
    for fence in _FENCE.finditer(cleaned):
        parts.append(_paragraphs(cleaned[position : fence.start()]))
        parts.append(Markup("<pre>{}</pre>").format(fence[1]))
        position = fence.end()
    parts.append(_paragraphs(cleaned[position:]))
    return Markup("").join(parts)


def _paragraphs(source: str) -> Markup:
    found = []
    for block in re.split(r"\n\s*\n", source.strip("\n")):
        if not block.strip():
            continue
        safe = str(escape(block))
        for pattern, instead in _SPANS:
            safe = pattern.sub(instead, safe)
        safe = _HEADING.sub(r"<strong>\1</strong>", safe)
        found.append(f"<p>{safe}</p>")
    return Markup("".join(found))  # every piece of it was escaped above


def diff(patch: str) -> list[tuple[str, str]]:
    """Each line of a patch with its class: add, del, hunk or same."""
    classes = {"+": "add", "-": "del", "@": "hunk"}
    return [(classes.get(line[:1], "same"), line) for line in patch.split("\n")]


def describe(event: str, detail: dict[str, Any]) -> str:
    """What a timeline entry says, after the name of who did it."""
    words = {
        "labeled": "added the label {label}",
        "unlabeled": "removed the label {label}",
        "assigned": "assigned {login}",
        "unassigned": "unassigned {login}",
        "renamed": "changed the title from {from} to {to}",
        "base_changed": "changed the base from {from} to {to}",
        "head_moved": "pushed {after}",
        "merged": "merged this as {sha}",
        "reopened": "reopened this",
        "ready_for_review": "marked this as ready for review",
        "converted_to_draft": "made this a draft",
    }
    if event == "closed":
        return f"closed this as {detail['reason'].replace('_', ' ')}" if detail.get("reason") else "closed this"
    shown = {key: str(value)[:12] if key in ("after", "sha") else value for key, value in detail.items()}
    return words.get(event, event.replace("_", " ")).format(**shown)
