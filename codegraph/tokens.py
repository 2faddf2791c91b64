"""Words of code and of prose become the same tokens: `HTTPResponse`, `http_response` and "HTTP responses" meet.

A token is a lower-case stem. A compound identifier gives its parts and, beside them, itself as one token, so that an
exact mention still counts for more than its parts.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping

WORD = re.compile(r"[^\W\d]\w*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_LONGEST = 64

STOP = frozenset(
    """
    a an and are as at be been but by can could did do does for from had has have how i if in into is it its may more
    no not now of on only or our out should so some such than that the their them then there these they this to up use
    used using was we were what when where which while who will with would you your also just let make makes need new
    """.split()  # noqa: SIM905 - a paragraph of words reads better than a list of strings
)
"""English words that say nothing of a place in code; they are dropped from questions, not from code."""

_MIN_STEM = 3


@functools.lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """A light English stem of one lower-case word: plural, `-ing`, `-ed`, `-ion`, a final `e`.

    It only has to send the forms of one word to one string; what it leaves need not be a word.
    """
    size = len(word)
    if size <= _MIN_STEM or not word.isascii() or not word.isalpha():
        return word
    if word.endswith("ies") and size > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("ing") and len(word) > 5:
        word = _undoubled(word[:-3])
    elif word.endswith("ed") and len(word) > 4 and not word.endswith("eed"):
        word = _undoubled(word[:-2])
    if word.endswith(("tion", "sion")) and len(word) > 6:
        word = word[:-3]
    if word.endswith("e") and len(word) > _MIN_STEM:
        word = word[:-1]
    return word


def _undoubled(word: str) -> str:
    double = len(word) > _MIN_STEM and word[-1] == word[-2] and word[-1] not in "lsz"
    return word[:-1] if double else word


@functools.lru_cache(maxsize=400_000)
def of_word(word: str) -> tuple[str, ...]:
    """Tokens of one word as written: its stemmed parts of two letters or more, and the whole in lower case
    when it has several parts."""
    word = word[:_LONGEST]
    raw = _PART.findall(word)
    parts = [stem(part.lower()) for part in raw if len(part) > 1]
    if len(raw) > 1:
        parts.append(word.replace("_", "").lower())
    return tuple(parts)


def of_counts(words: Mapping[str, int]) -> dict[str, int]:
    """Token counts of a bag of words."""
    counts: dict[str, int] = {}
    held = counts.get
    for found, times in zip(map(of_word, words), words.values(), strict=True):
        for token in found:
            counts[token] = held(token, 0) + times
    return counts


def of_words(words: Iterable[str]) -> dict[str, int]:
    """Token counts of words in any order."""
    return of_counts(Counter(words))


def of_text(text: str) -> dict[str, int]:
    """Token counts of prose, without stop words."""
    words = Counter(WORD.findall(text))
    return of_counts({word: times for word, times in words.items() if word.lower() not in STOP})


@functools.lru_cache(maxsize=200_000)
def of_path(path: str) -> tuple[str, ...]:
    """Tokens of a path's folders and file name, its extension left out."""
    folders, _, name = path.rpartition("/")
    bare = name.split(".", 1)[0] if not name.startswith(".") else name
    return tuple(of_words(WORD.findall(f"{folders} {bare}")))
