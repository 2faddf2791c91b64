"""The pages of the documentation, and the commands that stand in them."""

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE: Final = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
_NOT_RUN: Final = re.compile(r"<!-- not run: (?P<reason>\S.*) -->\s*\Z")
_INLINE: Final = re.compile(r"`((?:fettle|temporal) [^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block. `not_run` is the reason in the comment right before it; empty: it is run."""

    page: str
    line: int
    language: str
    text: str
    not_run: str

    @property
    def commands(self) -> list[str]:
        """One shell command each; in `console` blocks only what follows a `$`, the rest is output."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
        return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    @property
    def output(self) -> list[str]:
        """What a `console` block shows as printed."""
        return [line for line in self.text.splitlines() if line and not line.startswith("$ ")]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page in these languages, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        if match["language"] in languages:
            marked = _NOT_RUN.search(text[: match.start()].rstrip() + "\n")
            line = text.count("\n", 0, match.start()) + 1
            body = textwrap.dedent(match["text"])
            found.append(Block(name(page), line, match["language"], body, marked["reason"] if marked else ""))
    return found


def shell(page: Path) -> list[Block]:
    return blocks(page, "sh", "console")


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def inline_commands(page: Path) -> list[str]:
    """Commands named in the running text; they may lack arguments."""
    return [found for found in _INLINE.findall(prose(page)) if "…" not in found]


def words(command: str) -> list[str]:
    """The words of a command, without assignments before it and without a comment after it."""
    found = shlex.split(re.sub(r"(?:^|\s)#.*", "", command))  # `shop#12` holds no comment, as a shell has it
    while found and re.fullmatch(r"[A-Z_]+=.*", found[0]):
        found = found[1:]
    return found
