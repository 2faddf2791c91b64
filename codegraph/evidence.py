"""How much each file, and each definition in it, holds of the words of a question: BM25 and its relatives."""

import math
from collections import defaultdict
from collections.abc import Mapping

from codegraph import index, postings


class Evidence:
    """What the words alone say.

    Attributes:
        words: BM25 of each file, by its slot.
        covered: Weight of the tokens that a file holds at all.
        cosine: Likeness by the rarer tokens, without BM25's ceiling on counts.
        chunks: BM25 of each chunk, by its number.
        mass: Weight of all tokens: what a file that holds everything could reach.
    """

    def __init__(self, held: index.Index, weights: Mapping[str, float], *, chunks: bool = True) -> None:
        self.words: dict[int, float] = {}
        self.covered: dict[int, float] = {}
        self.cosine: dict[int, float] = {}
        self.chunks: dict[int, float] = {}
        self.mass = 0.0
        self._take(held, weights, chunks)
        self.mass = self.mass or 1.0

    def extended(self, held: index.Index, weights: Mapping[str, float]) -> "Evidence":
        """This evidence with that of further tokens; none of them may be in it already."""
        more = object.__new__(Evidence)
        more.words, more.covered = dict(self.words), dict(self.covered)
        more.cosine, more.chunks = dict(self.cosine), dict(self.chunks)
        more.mass = self.mass
        more._take(held, weights, chunks=True)
        return more

    def _take(self, held: index.Index, weights: Mapping[str, float], chunks: bool) -> None:
        mean = held.mean_file_length
        chunk_mean = held.chunks.mean_length
        files = len(held)
        k1, b = postings.K1, postings.B
        slots, lengths, chunk_lengths = held.chunk_slot, held.file_lengths, held.chunks.lengths
        for token in sorted(weights):
            holders = held.chunks.holders(token)
            if not holders:
                self.mass += weights[token] * math.log(1.0 + (files + 0.5) / 0.5)
                continue
            counts: dict[int, int] = defaultdict(int)
            for number, times in holders:
                counts[slots[number]] += times
            idf = math.log(1.0 + (files - len(counts) + 0.5) / (len(counts) + 0.5))
            weight = weights[token] * idf
            self.mass += weight
            words, covered, cosine = self.words, self.covered, self.cosine
            for slot, times in counts.items():
                length = lengths[slot]
                words[slot] = words.get(slot, 0.0) + weight * (k1 + 1) * times / (
                    times + k1 * (1 - b + b * length / mean)
                )
                covered[slot] = covered.get(slot, 0.0) + weight
                cosine[slot] = cosine.get(slot, 0.0) + weight * idf * (1.0 + math.log(times)) / math.sqrt(length + 20.0)
            if not chunks:
                continue
            chunk_weight = weights[token] * held.chunks.idf(len(holders)) * (k1 + 1)
            found = self.chunks
            for number, times in holders:
                part = chunk_weight * times / (times + k1 * (1 - b + b * chunk_lengths[number] / chunk_mean))
                found[number] = found.get(number, 0.0) + part

    def by_file(self, held: index.Index) -> tuple[dict[int, float], dict[int, float]]:
        """A file's best chunk, and the sum of its best three, by slot."""
        each: dict[int, list[float]] = defaultdict(list)
        for number, score in self.chunks.items():
            each[held.chunk_slot[number]].append(score)
        best: dict[int, float] = {}
        three: dict[int, float] = {}
        for slot, scores in each.items():
            scores.sort(reverse=True)
            best[slot] = scores[0]
            three[slot] = math.fsum(scores[:3])
        return best, three
