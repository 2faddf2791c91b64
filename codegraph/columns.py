"""The numbers that the ranker reads: one column for each kind of evidence.

Columns ending in `_top` are divided by the best file's value, so that they mean the same in every repository; the
others are absolute.
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from codegraph import index, ranks, tokens

if TYPE_CHECKING:
    from codegraph import features

_WORDS = (
    "words_top", "words_share", "words_place", "title_words_top", "title_words_share", "covered", "title_covered",
    "chunk_top", "chunks_top", "chunk_share", "title_chunk_top", "names_top", "names_share", "title_names_top",
    "cosine_top", "base", "more_top", "more_chunk_top",
)  # fmt: skip
_PATH = (
    "path_covered", "path_share", "stem_match", "title_path_covered", "mentioned", "defined", "identifiers", "facade",
    "aside", "depth", "lines", "definitions", "language_share",
)  # fmt: skip
_PAST = (
    "votes_top", "votes_share", "best_vote_top", "title_votes_top", "votes_place", "churn_top", "churn_place",
    "last_change", "together_top", "together_first", "together_share",
)  # fmt: skip
_GRAPH = (
    "bridge_top", "bridge_best_top", "near_top", "folder_top", "importers", "callee_top", "caller_top", "first_folder",
)  # fmt: skip
_ALL = ("files", "asked", "body", "gap", "blend_place", "blend_top", "first_place", "first_top")
NAMES = (*_WORDS, *_PATH, *_PAST, *_GRAPH, *_ALL)
"""The columns, in order. The shipped weights know columns by their places, so a change here means learning anew."""

_ASIDE = frozenset(
    """
    example examples doc docs sample samples demo demos script scripts ci tool tools bench benches benchmark benchmarks
    website site playground template templates fixture fixtures contrib misc vendor third_party
    """.split()  # noqa: SIM905 - a paragraph of words reads better than a list of strings
)


def _best(scores: Mapping[int, float]) -> float:
    return max(scores.values(), default=0.0) or 1.0


class Words:
    """The columns of `_WORDS`."""

    def __init__(self, of: "features.Table") -> None:
        whole, title = of.whole, of.title
        self._of = of
        self._tops = [_best(each) for each in (whole.words, title.words, of.best, of.three, of.title_best)]
        self._name_tops = [_best(of.names), _best(of.title_names), _best(whole.cosine)]
        self._more_tops = [_best(of.more.words), _best(of.more_best)]
        slots = of.revision.sources.slots
        self._places = ranks.places({path: whole.words.get(slots[path], 0.0) for path in of.paths})

    def row(self, path: str) -> list[float]:
        """One candidate's values, in the order of their names."""
        of = self._of
        slot = of.revision.sources.slots[path]
        words, title, chunk, three, title_chunk = self._tops
        names, title_names, cosine = self._name_tops
        more, more_chunk = self._more_tops
        return [
            of.whole.words.get(slot, 0.0) / words,
            of.whole.words.get(slot, 0.0) / of.whole.mass,
            self._places[path],
            of.title.words.get(slot, 0.0) / title,
            of.title.words.get(slot, 0.0) / of.title.mass,
            of.whole.covered.get(slot, 0.0) / of.whole.mass,
            of.title.covered.get(slot, 0.0) / of.title.mass,
            of.best.get(slot, 0.0) / chunk,
            of.three.get(slot, 0.0) / three,
            of.best.get(slot, 0.0) / of.whole.mass,
            of.title_best.get(slot, 0.0) / title_chunk,
            of.names.get(slot, 0.0) / names,
            of.names.get(slot, 0.0) / of.whole.mass,
            of.title_names.get(slot, 0.0) / title_names,
            of.whole.cosine.get(slot, 0.0) / cosine,
            of.base.get(path, 0.0),
            of.more.words.get(slot, 0.0) / more,
            of.more_best.get(slot, 0.0) / more_chunk,
        ]


class Paths:
    """The columns of `_PATH`."""

    def __init__(self, of: "features.Table") -> None:
        self._of = of
        held = of.revision.sources
        self._languages = Counter(known.language for known in held.facts.values())
        self._title_mass = math.fsum(of.path_idf(token) for token in sorted(of.asked.title)) or 1.0
        self._identifier_slots = {word: self._slots(held, word) for word in of.asked.identifiers}

    @staticmethod
    def _slots(held: index.Index, word: str) -> frozenset[int]:
        token = tokens.of_word(word)[-1:] or ("",)
        return frozenset(held.chunk_slot[number] for number, _ in held.chunks.holders(token[0]))

    def row(self, path: str) -> list[float]:
        """One candidate's values, in the order of their names."""
        of = self._of
        held = of.revision.sources
        known = held.facts[path]
        covered, share = of.path_share(path)
        stem = ranks.stem_of(path)
        stem_tokens = set(tokens.of_word(stem)[:1])
        mine = tokens.of_path(path)
        folders = path.lower().split("/")[:-1]
        return [
            covered,
            share,
            float(stem in of.asked.words) + float(bool(stem_tokens & of.asked.title.keys())),
            math.fsum(of.path_idf(token) for token in mine if token in of.asked.title) / self._title_mass,
            float(any(path.endswith(each) or each.endswith(path) for each in of.asked.paths)),
            self._defined(path),
            self._identifiers(held.slots[path]),
            float(stem in {"__init__", "index", "mod", "lib", "main", "types", "utils"}),
            float(any(folder in _ASIDE for folder in folders)),
            float(path.count("/")),
            math.log1p(known.lines),
            math.log1p(len(known.definitions)),
            self._languages[known.language] / len(held),
        ]

    def _defined(self, path: str) -> float:
        """Names of the question that the file defines, the rare ones more."""
        found = 0.0
        for definers, weight in self._asked_definers:
            if path in definers:
                found += weight / len(definers)
        return found

    @functools.cached_property
    def _asked_definers(self) -> list[tuple[Counter[str], float]]:
        definers = self._of.revision.sources.definers
        identifiers = set(self._of.asked.identifiers)
        words = sorted(word for word in self._of.asked.words if len(word) > 2 and word in definers)
        return [(definers[word], 2.0 if word in identifiers else 0.5) for word in words]

    def _identifiers(self, slot: int) -> float:
        known = self._identifier_slots
        return sum(1 for slots in known.values() if slot in slots) / len(known) if known else 0.0


class Past:
    """The columns of `_PAST`."""

    def __init__(self, of: "features.Table") -> None:
        held, past = of.revision.sources.facts, of.revision.past
        self._of = of
        self._best = ranks.top({path: vote.best for path, vote in of.votes.items() if path in held})
        self._title = ranks.top({path: vote.total for path, vote in of.title_votes.items() if path in held})
        self._mass = math.fsum(vote.total for path, vote in sorted(of.votes.items()) if path in held) or 1.0
        self._places = ranks.places({path: of.vote_tops.get(path, 0.0) for path in of.paths})
        self.churn = ranks.top({path: past.churn(path) for path in of.paths}) if past else {}
        self._churn_places = ranks.places({path: self.churn.get(path, 0.0) for path in of.paths})
        self._together = ranks.top({path: score for path, score in of.together.items() if path in held})
        first = of.seeds[0] if of.seeds else ""
        self._first = past.together(first) if past and first else {}
        self._first_changes = past.churn(first) + 0.5 if past and first else 1.0
        self._total = max(ranks.LONG_PAST, len(past.commits)) if past else 1

    def row(self, path: str) -> list[float]:
        """One candidate's values, in the order of their names."""
        of, past = self._of, self._of.revision.past
        vote = of.votes.get(path)
        return [
            of.vote_tops.get(path, 0.0),
            vote.total / self._mass if vote else 0.0,
            self._best.get(path, 0.0),
            self._title.get(path, 0.0),
            self._places[path],
            self.churn.get(path, 0.0),
            self._churn_places[path],
            past.last_change(path) / self._total if past else 1.0,
            self._together.get(path, 0.0),
            self._first.get(path, 0.0) / self._first_changes,
            of.conditional.get(path, 0.0),
        ]


class Graph:
    """The columns of `_GRAPH`."""

    def __init__(self, of: "features.Table") -> None:
        self._of = of
        self._bridge, self._bridge_best = ranks.top(of.bridge), ranks.top(of.bridge_best)
        self._near, self._folders = ranks.top(of.near), ranks.top(of.folders)
        self._callees, self._callers = ranks.top(of.callees), ranks.top(of.callers)
        self._first = ranks.folder_of(of.seeds[0]) if of.seeds else None

    def row(self, path: str) -> list[float]:
        """One candidate's values, in the order of their names."""
        folder = ranks.folder_of(path)
        return [
            self._bridge.get(path, 0.0),
            self._bridge_best.get(path, 0.0),
            self._near.get(path, 0.0),
            self._folders.get(folder, 0.0),
            math.log1p(len(self._of.revision.importers.get(path, ()))),
            self._callees.get(path, 0.0),
            self._callers.get(path, 0.0),
            float(folder == self._first),
        ]
