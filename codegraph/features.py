"""Everything that speaks for a file being the place that a question asks for, as numbers.

Each column of `NAMES` is one kind of evidence. Columns ending in `_top` are divided by the best file's value, so that
they mean the same in every repository; the others are absolute. A row never depends on the order of files.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from codegraph import index, postings, question, tokens
from codegraph.revision import Revision

NAMES = (
    "words_top", "words_share", "words_place", "title_words_top", "title_words_share", "covered", "title_covered",
    "chunk_top", "chunks_top", "chunk_share", "title_chunk_top", "names_top", "names_share", "title_names_top",
    "path_covered", "path_share", "stem_match", "title_path_covered", "mentioned", "defined", "identifiers",
    "votes_top", "best_vote_top", "title_votes_top", "votes_place", "bridge_top", "bridge_best_top", "near_top",
    "together_top", "folder_top", "churn_top", "churn_place", "last_change", "lines", "definitions", "importers",
    "facade", "depth", "files", "asked", "body", "gap", "cosine_top", "base", "blend_place", "blend_top",
)  # fmt: skip
"""The columns, in order. Append only: the shipped weights know columns by their places."""

MOST_CANDIDATES = 250


class Evidence:
    """What the words alone say, file by file; the rest of the columns is built on it."""

    def __init__(self, held: index.Index, weights: Mapping[str, float]) -> None:
        self.words: dict[int, float] = {}
        self.covered: dict[int, float] = {}
        self.cosine: dict[int, float] = {}
        self.chunks: dict[int, float] = {}
        self.mass = 0.0
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
            chunk_weight = weights[token] * held.chunks.idf(len(holders)) * (k1 + 1)
            chunks = self.chunks
            for number, times in holders:
                part = chunk_weight * times / (times + k1 * (1 - b + b * chunk_lengths[number] / chunk_mean))
                chunks[number] = chunks.get(number, 0.0) + part
        self.mass = self.mass or 1.0

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


class Table:
    """Candidates and their rows, for one question in one revision."""

    def __init__(self, revision: Revision, asked: question.Question) -> None:
        self.revision = revision
        self.asked = asked
        held = revision.sources
        self.weights = revision.past.telling(asked.weights) if revision.past else dict(asked.weights)
        self.title_weights = revision.past.telling(asked.title_weights) if revision.past else dict(asked.title_weights)
        self.whole = Evidence(held, self.weights)
        self.title = Evidence(held, self.title_weights)
        self.best, self.three = self.whole.by_file(held)
        self._title_best, _ = self.title.by_file(held)
        self.votes = revision.past.votes(self.weights) if revision.past else {}
        self._title_votes = revision.past.votes(self.title_weights) if revision.past else {}
        self._names = held.names.scores(self.weights)
        self._title_names = held.names.scores(self.title_weights)
        self.bridge, self._bridge_best = self._bridges()
        self._idf = {token: self._path_idf(token) for token in sorted(self.weights)}
        words = {held.paths[slot]: score + self._names.get(slot, 0.0) for slot, score in self.whole.words.items()}
        self.base = top(words)
        self.seeds = sorted(self.base, key=lambda path: (-self.base[path], path))[:10]
        self.near = self._neighbours()
        self.together = self._companions()
        self.folders = self._folders()
        self.paths = self._candidates()
        self.rows = self._rows()

    def path_idf(self, token: str) -> float:
        """Weight of a token of the question by how few paths hold it; 0 for a token that was not asked."""
        return self._idf.get(token, 0.0)

    def _path_idf(self, token: str) -> float:
        held = self.revision.sources
        count = sum(1 for path in held.facts if token in tokens.of_path(path)) if len(held) < 3000 else 1
        return math.log(1.0 + (len(held) - count + 0.5) / (count + 0.5))

    def _bridges(self) -> tuple[dict[str, float], dict[str, float]]:
        """Tests speak the words of issues; what they say counts for the sources that they import."""
        held = self.revision.tests
        scores = Evidence(held, self.weights).words
        total: dict[str, float] = defaultdict(float)
        best: dict[str, float] = defaultdict(float)
        ranked = sorted(scores, key=lambda slot: (-scores[slot], held.paths[slot]))[:25]
        for slot in ranked:
            path = held.paths[slot]
            subjects = subjects_of(self.revision, path)
            for subject, share in subjects.items():
                total[subject] += scores[slot] * share
                best[subject] = max(best[subject], scores[slot] * share)
        return dict(total), dict(best)

    def _neighbours(self) -> dict[str, float]:
        """Files that import, or are imported by, the files that the words found; hubs give little."""
        found: dict[str, float] = defaultdict(float)
        sources = self.revision.sources.facts
        for path in self.seeds:
            around = [*self.revision.imports.get(path, ()), *self.revision.importers.get(path, ())]
            around = [other for other in around if other in sources]
            for other in around:
                degree = len(self.revision.importers.get(other, ())) + len(self.revision.imports.get(other, ()))
                found[other] += self.base[path] / math.sqrt(1 + degree)
        return dict(found)

    def _companions(self) -> dict[str, float]:
        """Files that past commits changed together with the files that the words found."""
        found: dict[str, float] = defaultdict(float)
        if self.revision.past:
            for path in self.seeds[:6]:
                together = self.revision.past.together(path)
                changes = self.revision.past.churn(path) + 1.0
                for other, weight in together.items():
                    found[other] += self.base[path] * weight / changes
        return dict(found)

    def _folders(self) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for path in self.seeds:
            found[str(PurePosixPath(path).parent)] += self.base[path]
        return dict(found)

    def _candidates(self) -> list[str]:
        held = self.revision.sources.facts
        if len(held) <= MOST_CANDIDATES:
            return sorted(held)
        slots = self.revision.sources.paths
        chosen: set[str] = set()
        kinds: Sequence[tuple[Mapping[str, float], int]] = (
            (self.base, 100),
            ({path: vote.total for path, vote in self.votes.items()}, 50),
            ({slots[slot]: score for slot, score in self.best.items()}, 50),
            ({slots[slot]: score for slot, score in self._names.items()}, 40),
            (self.bridge, 30),
            (self.near, 20),
            (self.together, 30),
            ({path: self._path_share(path)[0] for path in held}, 40),
        )
        for scores, most in kinds:
            chosen.update(
                [path for path in sorted(scores, key=lambda path: (-scores[path], path)) if path in held][:most]
            )
        return sorted(chosen)

    def _path_share(self, path: str) -> tuple[float, float]:
        mine = tokens.of_path(path)
        hit = math.fsum(self._idf[token] * self.weights[token] for token in mine if token in self._idf)
        mass = math.fsum(self._idf[token] * weight for token, weight in self.weights.items()) or 1.0
        return hit / mass, sum(1 for token in mine if token in self._idf) / max(1, len(mine))

    def _rows(self) -> list[list[float]]:
        held, past, asked = self.revision.sources, self.revision.past, self.asked
        slots = [held.slots[path] for path in self.paths]
        whole, title = self.whole, self.title
        tops = {
            "words": max(whole.words.values(), default=1.0),
            "title": max(title.words.values(), default=1.0),
            "chunk": max(self.best.values(), default=1.0),
            "three": max(self.three.values(), default=1.0),
            "title_chunk": max(self._title_best.values(), default=1.0),
            "names": max(self._names.values(), default=1.0),
            "title_names": max(self._title_names.values(), default=1.0),
            "cosine": max(whole.cosine.values(), default=1.0),
        }
        votes = top({path: vote.total for path, vote in self.votes.items() if path in held.facts})
        vote_best = top({path: vote.best for path, vote in self.votes.items() if path in held.facts})
        title_votes = top({path: vote.total for path, vote in self._title_votes.items() if path in held.facts})
        bridge, bridge_best = top(self.bridge), top(self._bridge_best)
        near, together, folders = top(self.near), top(self.together), top(self.folders)
        churn = top({path: past.churn(path) for path in self.paths}) if past else {}
        words_place = places({path: whole.words.get(slot, 0.0) for path, slot in zip(self.paths, slots, strict=True)})
        votes_place = places({path: votes.get(path, 0.0) for path in self.paths})
        churn_place = places({path: churn.get(path, 0.0) for path in self.paths})
        second = sorted((whole.words.get(slot, 0.0) for slot in slots), reverse=True)[1:2]
        gap = 1.0 - second[0] / tops["words"] if second else 1.0
        common = (math.log1p(len(held)), math.log1p(len(asked.weights)), float(asked.body), gap)
        total = len(past.commits) if past else 1
        blend: dict[str, float] = {}
        rows = []
        for path, slot in zip(self.paths, slots, strict=True):
            known = held.facts[path]
            path_covered, path_share = self._path_share(path)
            stem = PurePosixPath(path).name.split(".", 1)[0].lower()
            defined, identifiers = self._identifiers(path, slot)
            words_top = whole.words.get(slot, 0.0) / tops["words"]
            chunk_top = self.best.get(slot, 0.0) / tops["chunk"]
            names_top = self._names.get(slot, 0.0) / tops["names"]
            blend[path] = (
                self.base.get(path, 0.0) + 0.5 * chunk_top + 0.4 * votes.get(path, 0.0) + 0.4 * path_covered
                + 0.1 * names_top + 0.2 * bridge.get(path, 0.0) + 0.15 * near.get(path, 0.0)
                + 0.1 * churn.get(path, 0.0)
            )  # fmt: skip
            rows.append(
                [
                    words_top,
                    whole.words.get(slot, 0.0) / whole.mass,
                    words_place[path],
                    title.words.get(slot, 0.0) / tops["title"],
                    title.words.get(slot, 0.0) / title.mass,
                    whole.covered.get(slot, 0.0) / whole.mass,
                    title.covered.get(slot, 0.0) / title.mass,
                    chunk_top,
                    self.three.get(slot, 0.0) / tops["three"],
                    self.best.get(slot, 0.0) / whole.mass,
                    self._title_best.get(slot, 0.0) / tops["title_chunk"],
                    names_top,
                    self._names.get(slot, 0.0) / whole.mass,
                    self._title_names.get(slot, 0.0) / tops["title_names"],
                    path_covered,
                    path_share,
                    float(stem in asked.words) + float(bool(set(tokens.of_word(stem)[:1]) & asked.title.keys())),
                    self._title_path(path),
                    self._mentioned(path),
                    defined,
                    identifiers,
                    votes.get(path, 0.0),
                    vote_best.get(path, 0.0),
                    title_votes.get(path, 0.0),
                    votes_place[path],
                    bridge.get(path, 0.0),
                    bridge_best.get(path, 0.0),
                    near.get(path, 0.0),
                    together.get(path, 0.0),
                    folders.get(str(PurePosixPath(path).parent), 0.0),
                    churn.get(path, 0.0),
                    churn_place[path],
                    (past.last_change(path) / max(1, total)) if past else 1.0,
                    math.log1p(known.lines),
                    math.log1p(len(known.definitions)),
                    math.log1p(len(self.revision.importers.get(path, ()))),
                    float(stem in {"__init__", "index", "mod", "lib", "main", "types", "utils"}),
                    float(path.count("/")),
                    *common,
                    whole.cosine.get(slot, 0.0) / tops["cosine"],
                    self.base.get(path, 0.0),
                ]
            )
        blend_top, blend_place = top(blend), places(blend)
        for path, row in zip(self.paths, rows, strict=True):
            row.extend((blend_place[path], blend_top.get(path, 0.0)))
        return rows

    def _title_path(self, path: str) -> float:
        mine = tokens.of_path(path)
        mass = math.fsum(self._idf.get(token, 0.0) for token in self.asked.title) or 1.0
        return math.fsum(self._idf.get(token, 0.0) for token in mine if token in self.asked.title) / mass

    def _mentioned(self, path: str) -> float:
        return float(any(path.endswith(each) or each.endswith(path) for each in self.asked.paths))

    def _identifiers(self, path: str, slot: int) -> tuple[float, float]:
        """Names of the question that the file defines, the rare ones more, and the share of its code names held."""
        held = self.revision.sources
        defined = 0.0
        for word in sorted(self.asked.words):
            definers = held.definers.get(word)
            if definers and path in definers and len(word) > 2:
                defined += (2.0 if word in self.asked.identifiers else 0.5) / len(definers)
        if not self.asked.identifiers:
            return defined, 0.0
        known = self._held_identifiers
        return defined, sum(1 for word in self.asked.identifiers if slot in known[word]) / len(self.asked.identifiers)

    @property
    def _held_identifiers(self) -> Mapping[str, frozenset[int]]:
        cached: Mapping[str, frozenset[int]] | None = getattr(self, "_identifier_slots", None)
        if cached is None:
            held = self.revision.sources
            cached = {}
            for word in self.asked.identifiers:
                token = tokens.of_word(word)[-1:] or ("",)
                cached = {
                    **cached,
                    word: frozenset(held.chunk_slot[number] for number, _ in held.chunks.holders(token[0])),
                }
            self._identifier_slots = cached
        return cached


def subjects_of(revision: Revision, test: str) -> dict[str, float]:
    """The source files that a test file is about: what it imports, and above all the one of its own name."""
    imported = [path for path in revision.imports.get(test, ()) if path in revision.sources.facts]
    found = {path: 1.0 / math.sqrt(len(imported)) * 0.7 for path in imported[:30]}
    name = bare(test)
    if name:
        same = [path for path in revision.by_stem.get(name, ()) if path in revision.sources.facts]
        for path in same[:5]:
            found[path] = max(found.get(path, 0.0), 1.0 / len(same))
    return found


def bare(test: str) -> str:
    """The name of a file without its endings and without what marks it as a test."""
    stem = PurePosixPath(test).name.split(".", 1)[0].lower()
    return stem.removeprefix("test_").removesuffix("_test").removesuffix("_tests").removeprefix("test-")


def top(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores divided by the best one; empty when there is none above 0."""
    best = max(scores.values(), default=0.0)
    return {path: score / best for path, score in scores.items()} if best > 0 else {}


def places(scores: Mapping[str, float]) -> dict[str, float]:
    """By rank: 1 for the best, 1/2 for the second, ...; 0 for what has nothing."""
    ranked = sorted((path for path in scores if scores[path] > 0), key=lambda path: (-scores[path], path))
    return {**dict.fromkeys(scores, 0.0), **{path: 1.0 / place for place, path in enumerate(ranked, 1)}}
