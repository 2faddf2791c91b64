"""Which definitions inside the ranked files a question means."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from codegraph import facts, features, tokens

NAMES = (
    "file_score", "file_place", "chunk_top", "chunk_share", "chunk_place", "title_chunk_top", "name_covered",
    "name_share", "exact", "exact_code", "parent_covered", "lines", "depth", "type", "children", "siblings",
    "called", "calls_named", "file_top", "constant", "share_of_file",
)  # fmt: skip
"""The columns, in order. Append only: the shipped weights know columns by their places."""

MOST_FILES = 20
_TYPES = frozenset({"class", "interface", "type", "module"})


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One definition with its row."""

    path: str
    definition: facts.Definition
    row: tuple[float, ...]


def table(found: features.Table, ranked: Sequence[tuple[str, float]]) -> list[Candidate]:
    """Rows for every definition of the best files. `ranked` are paths with the ranker's scores, best first."""
    held = found.revision.sources
    ranked = ranked[:MOST_FILES]
    chunk_scores, title_scores = found.whole.chunks, found.title.chunks
    top = max(chunk_scores.values(), default=1.0) or 1.0
    title_top = max(title_scores.values(), default=1.0) or 1.0
    mass = math.fsum(found.path_idf(token) * weight for token, weight in sorted(found.weights.items())) or 1.0
    best_score = ranked[0][1] if ranked else 0.0
    result: list[Candidate] = []
    callees = _Callees(found, mass)
    called = _called(found, [path for path, _ in ranked[:8]])
    for place, (path, score) in enumerate(ranked, 1):
        known = held.facts[path]
        first = held.chunks_of(path).start
        numbers = range(first, first + len(known.definitions))
        order = sorted(numbers, key=lambda number: (-chunk_scores.get(number, 0.0), number))
        places = {number: rank for rank, number in enumerate(order, 1)}
        total = math.fsum(chunk_scores.get(number, 0.0) for number in numbers) or 1.0
        children = _children(known)
        covered = {each.name: _covered(found, each.name.rsplit(".", 1)[-1], mass) for each in known.definitions}
        for number, each in zip(numbers, known.definitions, strict=True):
            parent, _, leaf = each.name.rpartition(".")
            lower = leaf.lower()
            hit, share = covered[each.name]
            own = chunk_scores.get(number, 0.0)
            result.append(
                Candidate(
                    path,
                    each,
                    (
                        score - best_score,
                        1.0 / place,
                        own / top,
                        own / mass,
                        1.0 / places[number],
                        title_scores.get(number, 0.0) / title_top,
                        hit,
                        share,
                        float(lower in found.asked.words),
                        float(lower in found.asked.identifiers),
                        covered.get(parent, (0.0, 0.0))[0],
                        math.log1p(each.end - each.start + 1),
                        float(each.name.count(".")),
                        float(each.kind in _TYPES),
                        math.log1p(children.get(each.name, 0)),
                        math.log1p(len(known.definitions)),
                        called.get(lower, 0.0) / top,
                        callees.named(each),
                        found.base.get(path, 0.0),
                        float(each.kind in {"constant", "macro"}),
                        own / total,
                    ),
                )
            )
    return result


def _children(known: facts.Facts) -> Mapping[str, int]:
    count: dict[str, int] = defaultdict(int)
    for each in known.definitions:
        parent = each.name.rpartition(".")[0]
        if parent:
            count[parent] += 1
    return count


def _covered(found: features.Table, leaf: str, mass: float) -> tuple[float, float]:
    mine = tokens.of_word(leaf)
    hits = [token for token in mine if token in found.weights]
    return math.fsum(found.path_idf(token) * found.weights[token] for token in hits) / mass, len(hits) / max(
        1, len(mine)
    )


def _called(found: features.Table, paths: Sequence[str]) -> dict[str, float]:
    """For every name the score of the best matching definition that calls it."""
    held = found.revision.sources
    best: dict[str, float] = {}
    for path in paths:
        first = held.chunks_of(path).start
        for number, each in enumerate(held.facts[path].definitions, first):
            score = found.whole.chunks.get(number, 0.0)
            for call in each.calls:
                best[call.lower()] = max(best.get(call.lower(), 0.0), score)
    return best


class _Callees:
    """How much of what a definition calls carries the words of the question."""

    def __init__(self, found: features.Table, mass: float) -> None:
        self._found = found
        self._mass = mass

    def named(self, each: facts.Definition) -> float:
        last = (tokens.of_word(call)[-1:] for call in each.calls[:60])
        return math.fsum(self._found.path_idf(token) for part in last for token in part) / self._mass
