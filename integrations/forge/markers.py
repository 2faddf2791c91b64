"""The hidden first line by which we find again what we wrote: a key that a retry shares with the first try."""

import re
from typing import Final

from domain import errors

MAX_BODY_CHARS: Final = 65_000
"""GitHub refuses bodies above 65,536 characters."""
_KEY: Final = re.compile(r"[A-Za-z0-9_.:/@#+-]{1,200}")
_CUT: Final = "\n\n… (cut here: the forge takes no longer text)"


def marker(key: str) -> str:
    """Raises errors.InvalidRequest when the key could end the HTML comment it stands in."""
    if not _KEY.fullmatch(key) or "--" in key:
        raise errors.InvalidRequest(
            f"'{key[:80]}' cannot be a comment's key: it has characters that an HTML comment cannot carry; "
            "use letters, digits and _.:/@#+- without a double dash"
        )
    return f"<!-- fettle:{key} -->"


def marked(key: str, body: str) -> str:
    """`body` behind its marker, short enough for the forge."""
    text = f"{marker(key)}\n{body}"
    return text if len(text) <= MAX_BODY_CHARS else text[: MAX_BODY_CHARS - len(_CUT)] + _CUT


def is_marked(key: str, body: str | None) -> bool:
    """Only the first line counts: text that we quote further down may hold any marker."""
    return (body or "").split("\n", 1)[0].strip() == marker(key)


def key_of(body: str | None) -> str:
    """The key in the first line of a body; empty when there is none."""
    found = re.fullmatch(rf"<!-- fettle:({_KEY.pattern}) -->", (body or "").split("\n", 1)[0].strip())
    return found[1] if found else ""


def same_text(left: str | None, right: str | None) -> bool:
    """Whether two bodies are one text to a forge, which may keep other line ends and no blank end."""
    return _plain(left) == _plain(right)


def _plain(text: str | None) -> str:
    return (text or "").replace("\r\n", "\n").strip()
