"""A map of the code for one question, within a budget: the files, their best signatures, why, and the tests to run."""

import dataclasses
from collections.abc import Sequence

from codegraph import clean

MOST_FILES = 15
MOST_SYMBOLS = 6
_CHARACTERS_A_TOKEN = 3
"""Code gives 3 to 4 characters a token in the tokenizers of today's models; the smaller keeps the budget hard."""


@dataclasses.dataclass(frozen=True, slots=True)
class Symbol:
    """One signature to show."""

    name: str
    line: int
    signature: str


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file to show, with its best symbols and the reasons for it."""

    path: str
    reasons: Sequence[str]
    symbols: Sequence[Symbol] = ()


def tokens(text: str) -> int:
    """A careful estimate of how many tokens a text costs (never less than it does in ordinary code)."""
    return -(-len(text.encode()) // _CHARACTERS_A_TOKEN)


def render(entries: Sequence[Entry], tests: Sequence[str], budget: int) -> str:
    """The map as plain text of at most `budget` tokens: files in order, cut at whole lines, the tests kept before the
    lesser files. The same input gives the same bytes. Empty when not even one file fits."""
    tail = [f"Tests: {', '.join(clean.line(path) for path in tests)}"] if tests else []
    while tail and tokens("\n".join(tail) + "\n") * 3 > budget:
        tests = tests[:-1]
        tail = [f"Tests: {', '.join(clean.line(path) for path in tests)}"] if tests else []
    left = budget - tokens("\n".join(tail) + "\n")
    head: list[str] = []
    for entry in entries[:MOST_FILES]:
        block = [f"{clean.line(entry.path)}  ({'; '.join(clean.line(reason, 80) for reason in entry.reasons[:3])})"]
        if tokens("\n".join([*head, *block]) + "\n") > left:
            break
        for symbol in entry.symbols[:MOST_SYMBOLS]:
            line = f"  {symbol.line}: {clean.line(symbol.signature or symbol.name, 120)}"
            if tokens("\n".join([*head, *block, line]) + "\n") > left:
                break
            block.append(line)
        head.extend(block)
    return "\n".join([*head, *tail]) + "\n" if head else ""
