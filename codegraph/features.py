"""Everything that speaks for a file being the place that a question asks for: the evidence, file by file.

`columns` turns it into the numbers that the ranker reads. Nothing here depends on the order of files.
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from codegraph import columns, question, ranks, tokens
from codegraph.evidence import Evidence
from codegraph.revision import Revision

MOST_CANDIDATES = 250
_SEEDS = 10
_MORE_TOKENS = 20
_TELLING = 16


class Table:
    """Candidates and their rows, for one question in one revision.

    Attributes:
        paths: The candidates, sorted.
        rows: Their rows, in the same order.
        weights: What each token of the question is worth here.
        seeds: The ten best files before the graph and the past's company are looked at.
    """

    def __init__(self, revision: Revision, asked: question.Question) -> None:
        self.revision = revision
        self.asked = asked
        held, past = revision.sources, revision.past
        self.weights = past.telling(asked.weights) if past else dict(asked.weights)
        title_weights = past.telling(asked.title_weights) if past else dict(asked.title_weights)
        self.whole = Evidence(held, self.weights)
        self.title = Evidence(held, title_weights)
        self.title_weights = title_weights
        self.best, self.three = self.whole.by_file(held)
        self.title_best, _ = self.title.by_file(held)
        self.votes = past.votes(self.weights) if past else {}
        self.title_votes = past.votes(title_weights) if past else {}
        self.names = held.names.scores(self.weights)
        self.title_names = held.names.scores(title_weights)
        self._idf = self._path_idfs()
        self._path_mass = math.fsum(self._idf[token] * self.weights[token] for token in sorted(self.weights)) or 1.0
        self.bridge, self.bridge_best = self._bridges()
        words = {held.paths[slot]: score + self.names.get(slot, 0.0) for slot, score in self.whole.words.items()}
        self.base = ranks.top(words)
        self.vote_tops = ranks.top({path: vote.total for path, vote in self.votes.items() if path in held.facts})
        self.first = self._first()
        self.seeds = sorted(self.first, key=lambda path: (-self.first[path], path))[:_SEEDS]
        self.near = self._neighbours()
        self.together, self.conditional = self._companions()
        self.folders = self._folder_scores()
        self.callees, self.callers = self._calls()
        self.more = self.whole.extended(held, self._more_weights())
        self.more_best, _ = self.more.by_file(held)
        self.paths = self._candidates()
        self.rows = self._rows()

    def path_idf(self, token: str) -> float:
        """Weight of a token of the question by how few paths hold it; 0 for a token that was not asked."""
        return self._idf.get(token, 0.0)

    @functools.cached_property
    def spoken(self) -> list[tuple[str, frozenset[int]]]:
        """The question's most telling words as written, each with the slots of the files that hold it."""
        held = self.revision.sources
        written = {token: word for word in sorted(self.asked.words) for token in tokens.of_word(word)[:1]}
        best = sorted((token for token in self.weights if token in written), key=lambda t: (-self.weights[t], t))
        return [
            (written[token], frozenset(held.chunk_slot[number] for number, _ in held.chunks.holders(token)))
            for token in best[:_TELLING]
        ]

    def _path_idfs(self) -> dict[str, float]:
        held = self.revision.sources
        counts = Counter(token for path in held.facts for token in tokens.of_path(path) if token in self.weights)
        return {
            token: math.log(1.0 + (len(held) - counts[token] + 0.5) / (counts[token] + 0.5)) for token in self.weights
        }

    def _bridges(self) -> tuple[dict[str, float], dict[str, float]]:
        """Tests speak the words of issues; what they say counts for the sources that they import."""
        held = self.revision.tests
        scores = Evidence(held, self.weights, chunks=False).words
        total: dict[str, float] = defaultdict(float)
        best: dict[str, float] = defaultdict(float)
        ranked = sorted(scores, key=lambda slot: (-scores[slot], held.paths[slot]))[:25]
        for slot in ranked:
            for subject, share in ranks.subjects_of(self.revision, held.paths[slot]).items():
                total[subject] += scores[slot] * share
                best[subject] = max(best[subject], scores[slot] * share)
        return dict(total), dict(best)

    def _first(self) -> dict[str, float]:
        """The first ranking: what a file says of itself, and what the past says of it."""
        held = self.revision.sources
        chunks = ranks.top(self._by_path(self.best))
        bridge = ranks.top(self.bridge)
        return ranks.top(
            {
                path: self.base.get(path, 0.0)
                + 0.5 * chunks.get(path, 0.0)
                + 0.4 * self.vote_tops.get(path, 0.0)
                + 0.4 * self.path_share(path)[0]
                + 0.2 * bridge.get(path, 0.0)
                for path in held.facts
            }
        )

    def _by_path(self, scores: Mapping[int, float]) -> dict[str, float]:
        paths = self.revision.sources.paths
        return {paths[slot]: score for slot, score in scores.items()}

    def _neighbours(self) -> dict[str, float]:
        """Files that import, or are imported by, the first files; hubs give little."""
        found: dict[str, float] = defaultdict(float)
        imports, importers = self.revision.imports, self.revision.importers
        for path in self.seeds:
            for other in (*imports.get(path, ()), *importers.get(path, ())):
                if other in self.revision.sources.facts:
                    degree = len(importers.get(other, ())) + len(imports.get(other, ()))
                    found[other] += self.first[path] / math.sqrt(1 + degree)
        return dict(found)

    def _companions(self) -> tuple[dict[str, float], dict[str, float]]:
        """Files that past commits changed together with the first files: in sum, and how surely with the very first."""
        found: dict[str, float] = defaultdict(float)
        sure: dict[str, float] = {}
        past = self.revision.past
        for place, path in enumerate(self.seeds[:6]) if past else ():
            together = past.together(path)  # type: ignore[union-attr] # there are no places without a past
            changes = past.churn(path) + 0.5  # type: ignore[union-attr] # as above
            for other, weight in together.items():
                found[other] += self.first[path] * weight / changes
                if place < 3:
                    sure[other] = max(sure.get(other, 0.0), weight / changes)
        return dict(found), sure

    def _folder_scores(self) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for path in self.seeds:
            found[ranks.folder_of(path)] += self.first[path]
        return dict(found)

    def _calls(self) -> tuple[dict[str, float], dict[str, float]]:
        """Files that define what the best definitions call, and files that call what the best definitions are."""
        held = self.revision.sources
        callees: dict[str, float] = defaultdict(float)
        callers: dict[str, float] = defaultdict(float)
        chunks = self.whole.chunks
        best = sorted(chunks, key=lambda n: (-chunks[n], held.paths[held.chunk_slot[n]], held.chunk_definition[n]))[:20]
        names: dict[str, float] = {}
        for number in best:
            path, place = held.paths[held.chunk_slot[number]], held.chunk_definition[number]
            if place < 0:
                continue
            each = held.facts[path].definitions[place]
            for call in each.calls:
                definers = held.definers.get(call.lower(), ())
                for other in definers if len(definers) <= 4 else ():
                    if other != path:
                        callees[other] += chunks[number] / len(definers)
            leaf = each.name.rsplit(".", 1)[-1]
            if len(leaf) > 3 and len(held.definers.get(leaf.lower(), ())) <= 3:
                names[leaf] = max(names.get(leaf, 0.0), chunks[number])
        for path in held.facts if names else ():
            hits = names.keys() & held.called_names(path)
            if hits:
                callers[path] = math.fsum(names[name] for name in sorted(hits))
        return dict(callees), dict(callers)

    def _more_weights(self) -> dict[str, float]:
        """The telling words of the definitions that answer the question best, itself left out."""
        held = self.revision.sources
        chunks = self.whole.chunks
        best = sorted(chunks, key=lambda n: (-chunks[n], held.paths[held.chunk_slot[n]], held.chunk_definition[n]))[:6]
        counts: dict[str, float] = defaultdict(float)
        for number in best:
            known = held.facts[held.paths[held.chunk_slot[number]]]
            words = tokens.of_counts(known.chunks[held.chunk_definition[number]])
            length = math.sqrt(10.0 + sum(words.values()))
            for token, count in words.items():
                if len(token) > 2:
                    counts[token] += chunks[number] * math.sqrt(count) / length
        likely = sorted((token for token in counts if token not in self.weights), key=lambda t: (-counts[t], t))
        weighed = {t: counts[t] * held.chunks.idf(held.chunks.count(t)) for t in likely[: 6 * _MORE_TOKENS]}
        fresh = sorted(weighed, key=lambda token: (-weighed[token], token))
        fresh = fresh[:_MORE_TOKENS]
        best_weight = max((weighed[token] for token in fresh), default=1.0) or 1.0
        return {token: 0.4 * weighed[token] / best_weight for token in fresh}

    def _candidates(self) -> list[str]:
        held = self.revision.sources.facts
        if len(held) <= MOST_CANDIDATES:
            return sorted(held)
        chosen: set[str] = set()
        kinds: Sequence[tuple[Mapping[str, float], int]] = (
            (self.base, 80),
            (self.first, 80),
            (self.vote_tops, 40),
            (self._by_path(self.best), 40),
            (self._by_path(self.names), 30),
            (self._by_path(self.more.words), 40),
            (self.bridge, 20),
            (self.near, 20),
            (self.together, 30),
            (self.callees, 20),
        )
        for scores, most in kinds:
            ranked = sorted((path for path in scores if path in held), key=lambda path: (-scores[path], path))
            chosen.update(ranked[:most])
        return sorted(chosen)

    def path_share(self, path: str) -> tuple[float, float]:
        """How much of the question a path carries, and how much of the path is asked for."""
        mine = tokens.of_path(path)
        hits = [token for token in mine if token in self._idf]
        weight = math.fsum(self._idf[token] * self.weights[token] for token in hits)
        return weight / self._path_mass, len(hits) / max(1, len(mine))

    def _rows(self) -> list[list[float]]:
        words, paths = columns.Words(self), columns.Paths(self)
        past, graph = columns.Past(self), columns.Graph(self)
        held = self.revision.sources
        second = sorted(self.whole.words.values(), reverse=True)[1:2]
        gap = 1.0 - second[0] / max(self.whole.words.values()) if second else 1.0
        common = [math.log1p(len(held)), math.log1p(len(self.weights)), float(self.asked.body), gap]
        near, churn = ranks.top(self.near), past.churn
        blend = {
            path: self.first.get(path, 0.0) + 0.1 * near.get(path, 0.0) + 0.07 * churn.get(path, 0.0)
            for path in self.paths
        }
        blend_place, blend_top = ranks.places(blend), ranks.top(blend)
        first_place = ranks.places({path: self.first.get(path, 0.0) for path in self.paths})
        return [
            [
                *words.row(path),
                *paths.row(path),
                *past.row(path),
                *graph.row(path),
                *common,
                blend_place[path],
                blend_top.get(path, 0.0),
                first_place[path],
                self.first.get(path, 0.0),
            ]
            for path in self.paths
        ]
