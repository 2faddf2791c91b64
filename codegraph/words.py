"""Words of a text, as written: what a name could be, in code, comments and strings alike."""

import collections
import re
from collections.abc import Iterable

LONGEST = 64
"""Characters of the longest word; what is longer is data."""

_KEPT = bytes(c if c >= 0x80 or c == 0x5F or chr(c).isalnum() else 0x20 for c in range(256))
_WORDS = re.compile(r"[^\W\d]\w*")


class Text:
    """A blob from which words are taken by spans of bytes."""

    def __init__(self, data: bytes) -> None:
        self._spaced = data.translate(_KEPT)
        self._plain = self._spaced.decode("ascii") if self._spaced.isascii() else None

    def bag(self, spans: Iterable[tuple[int, int]]) -> dict[str, int]:
        """How often each word occurs in some spans, in the order of their first use.

        Words have 2 to `LONGEST` letters, digits and `_`, and do not begin with a digit. A word that a span cuts is
        counted as what is left of it; bytes that are not UTF-8 part words.
        """
        found: list[str] = []
        plain = self._plain
        scripts = False
        for start, end in spans:
            if plain is not None:
                found += plain[start:end].split()
            elif (piece := self._spaced[start:end]).isascii():
                found += piece.decode("ascii").split()
            else:
                scripts = True
                found += piece.decode("utf-8", "replace").split()
        counts = collections.Counter(found)
        if scripts:
            return _any_script(counts)
        return {word: count for word, count in counts.items() if word[0] > "9" and 1 < len(word) <= LONGEST}


def _any_script(counts: dict[str, int]) -> dict[str, int]:
    """Counts of words, where what stands for a letter may be a quotation mark of another script."""
    bag: dict[str, int] = {}
    for word, count in counts.items():
        for part in [word] if word.isascii() else _WORDS.findall(word):
            if part[0] > "9" and 1 < len(part) <= LONGEST:
                bag[part] = bag.get(part, 0) + count
    return bag
