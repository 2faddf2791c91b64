"""A text that asks for places in the code, read once: its tokens, its identifiers, its paths."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping

from codegraph import tokens

_LONGEST_TEXT = 20_000
"""Characters of a text that are read; a pasted log of a megabyte says no more than its beginning."""
_MOST_TOKENS = 120
_CODE_LIKE = re.compile(
    r"`([^`\n]{2,80})`|\b([A-Za-z_][\w]*(?:(?:\.|::|->|#)[A-Za-z_]\w*)+|[A-Za-z]+_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*)"
)
_PATH = re.compile(r"(?<![\w.@-])(?<![\w.@-][/\\])[\w.@-]+(?:[/\\][\w.@-]+)*\.[A-Za-z]{1,5}\b")
"""It may only begin where a path does: tried at every character, a long word would take the square of its length."""
_TITLE_WEIGHT = 2


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        title: Token counts of the first line.
        whole: Token counts of everything, the first line counting twice.
        weights: For each token of `whole` how much one match is worth: the square root of its count.
        identifiers: Names that look like code, lower case, each part of a dotted one and the last part of a call.
        words: Every word, lower case, as written.
        paths: What looks like a file name or path, `/` between folders.
        body: Whether there is more than a first line.
    """

    title: Mapping[str, int]
    whole: Mapping[str, int]
    weights: Mapping[str, float]
    title_weights: Mapping[str, float]
    identifiers: tuple[str, ...]
    words: frozenset[str]
    paths: tuple[str, ...]
    body: bool


def read(text: str) -> Question:
    """Read a text as a question; any text will do, an empty one asks for nothing."""
    text = text[:_LONGEST_TEXT].strip()
    first, _, rest = text.partition("\n")
    title = tokens.of_text(first)
    whole = Counter(tokens.of_text(rest))
    for token, count in title.items():
        whole[token] += count * _TITLE_WEIGHT
    kept = sorted(whole, key=lambda token: (-whole[token], token))[:_MOST_TOKENS]
    weights = {token: (whole[token]) ** 0.5 for token in kept}
    identifiers: dict[str, None] = {}
    for match in _CODE_LIKE.finditer(text):
        for word in tokens.WORD.findall(match.group(1) or match.group(2)):
            identifiers[word.lower()] = None
    return Question(
        title=title,
        whole={token: whole[token] for token in kept},
        weights=weights,
        title_weights={token: count**0.5 for token, count in title.items()},
        identifiers=tuple(identifiers),
        words=frozenset(word.lower() for word in tokens.WORD.findall(text)),
        paths=tuple(dict.fromkeys(found.replace("\\", "/").lstrip("./") for found in _PATH.findall(text))),
        body=bool(rest.strip()),
    )
