"""The `## Skills` section of an issue: which of the repository's skills its author asks for.

The body is anybody's text, so a name can only choose among what the repository has: it is never a path, and never text
for the prompt.
"""

import re
from typing import Final, NamedTuple

MOST: Final = 20

_HEADING: Final = re.compile(r"^ {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$")
_FENCE: Final = re.compile(r"^ {0,3}(?P<mark>`{3,}|~{3,})")
_BULLET: Final = re.compile(r"^ {0,3}(?:[-*+]|\d{1,3}[.)])[ \t]+(?:\[(?P<box>[ xX])\][ \t]+)?(?P<text>.+)$")
_QUOTED: Final = re.compile(r"^(?:\*\*)?`(?P<name>[^`]+)`")
_PLAIN: Final = re.compile(r"^(?:\*\*)?(?P<name>[^\s*]+?)(?:\*\*)?(?=$|\s|:\s|:$)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?::[A-Za-z0-9][A-Za-z0-9_-]{0,63})?")


class Found(NamedTuple):
    """`names` in the order of the list, each once; `refused` are entries that name no skill, or are too many."""

    names: tuple[str, ...]
    refused: tuple[str, ...]


def parse(body: str) -> Found:
    """Read the bullet list below each heading `Skills` (any level, any case) of an issue's body.

    A heading in a code block is none, the section ends at the next heading of its level or above, a box that is not
    ticked is not asked for, and what follows the name (`` `deploy`: to staging ``) is left out.
    """
    names: list[str] = []
    refused: list[str] = []
    for entry in _entries(body):
        match = _QUOTED.match(entry) or _PLAIN.match(entry)
        name = match["name"].strip().rstrip(":,;.") if match else ""
        if not _NAME.fullmatch(name):
            refused.append(entry[:80])
        elif name not in names:
            (names if len(names) < MOST else refused).append(name)
    return Found(tuple(names), tuple(refused[:MOST]))


def _entries(body: str) -> list[str]:
    found: list[str] = []
    level = 0  # of the section that is being read; 0: none
    fence = ""
    for line in body.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark["mark"].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            continue
        if mark:
            fence = mark["mark"]
            continue
        if heading := _HEADING.match(line):
            if heading["title"].strip().rstrip(":").casefold() == "skills":
                level = len(heading["level"])
            elif level and len(heading["level"]) <= level:
                level = 0
            continue
        if level and (bullet := _BULLET.match(line)) and bullet["box"] != " ":
            found.append(bullet["text"].strip())
    return found
