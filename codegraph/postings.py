"""Inverted lists with BM25 on top: which documents hold a token, and how often.

A document leaves by being marked dead; its postings stay until half of all documents are dead, then the lists are made
anew. Every score is computed over the living alone (their count, their lengths, their document frequencies), so that an
index that was updated a thousand times answers with the same bytes as one that was made at once.
"""

import functools
import math
from array import array
from collections import defaultdict
from collections.abc import Mapping

K1 = 1.2
B = 0.75
_TIMES_BITS = 8
_MOST_TIMES = (1 << _TIMES_BITS) - 1


class Postings:
    """Documents by number, in the order in which they came."""

    def __init__(self) -> None:
        self._lists: defaultdict[str, array[int]] = defaultdict(functools.partial(array, "I"))
        self.lengths: array[int] = array("I")
        self.alive = bytearray()
        self.living = 0
        self.total_length = 0

    def add(self, counts: Mapping[str, int]) -> int:
        """Take a document; its number is returned."""
        number = len(self.lengths)
        lists = self._lists
        shifted = number << _TIMES_BITS
        for token, times in counts.items():
            lists[token].append(shifted | (times if times < _MOST_TIMES else _MOST_TIMES))
        length = sum(counts.values())
        self.lengths.append(length)
        self.alive.append(1)
        self.living += 1
        self.total_length += length
        return number

    def remove(self, number: int) -> None:
        """Forget a document. A second time is the same as once."""
        if self.alive[number]:
            self.alive[number] = 0
            self.living -= 1
            self.total_length -= self.lengths[number]

    def revive(self, number: int) -> None:
        """Take back a document that was removed."""
        if not self.alive[number]:
            self.alive[number] = 1
            self.living += 1
            self.total_length += self.lengths[number]

    @property
    def mean_length(self) -> float:
        """Mean count of tokens of a living document, at least 1."""
        return max(1.0, self.total_length / self.living) if self.living else 1.0

    def holders(self, token: str) -> list[tuple[int, int]]:
        """Living documents that hold a token, with how often."""
        alive = self.alive
        return [(e >> _TIMES_BITS, e & _MOST_TIMES) for e in self._lists.get(token, ()) if alive[e >> _TIMES_BITS]]

    def count(self, token: str) -> int:
        """How many living documents hold a token."""
        alive = self.alive
        return sum(1 for entry in self._lists.get(token, ()) if alive[entry >> _TIMES_BITS])

    def idf(self, holders: int) -> float:
        """Weight of a token that so many of the living hold (never negative)."""
        return math.log(1.0 + (self.living - holders + 0.5) / (holders + 0.5))

    def scores(self, weights: Mapping[str, float]) -> dict[int, float]:
        """BM25 of every living document that holds one of the tokens; `weights` multiply each token's part."""
        found: dict[int, float] = {}
        mean = self.mean_length
        lengths = self.lengths
        for token in sorted(weights):
            held = self.holders(token)
            if not held:
                continue
            weight = weights[token] * self.idf(len(held)) * (K1 + 1)
            for number, times in held:
                part = weight * times / (times + K1 * (1 - B + B * lengths[number] / mean))
                found[number] = found.get(number, 0.0) + part
        return found
