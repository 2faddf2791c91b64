"""How one changed file bears on every other file of a revision, as numbers: the table that blast radius is ranked by.

Columns ending in `_top` are divided by the best file's value; the others are absolute.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from codegraph import facts, index, ranks, ties, tokens
from codegraph.evidence import Evidence
from codegraph.revision import Revision

NAMES = (
    "together_top", "together_share", "together_place", "together_count", "second_top", "words_top", "words_place",
    "words_share", "calls_seed_name", "stem_same", "stem_shared", "path_shared", "folder_same", "folder_distance",
    "imports", "imported", "reach_back", "reach_forward", "calls_top", "called_top", "names_held_top", "bases", "test",
    "subject", "siblings_tests", "churn_top", "last_change", "seed_churn", "seed_together", "lines", "seed_lines",
    "files", "importers", "history", "blend_place", "blend_top", "cosine_top", *ties.NAMES,
)  # fmt: skip
"""The columns, in order. Append only: the shipped weights know columns by their places."""

MOST_CANDIDATES = 200
_MOST_WORDS = 60
_MOST_COMPARED = 300


class Table:
    """Candidates and their rows for one changed file.

    `changed` are the places of the changed definitions in the file's facts (None: all of it). A file that the revision
    does not hold is new: then `known` are its facts, and the past says nothing of it.
    """

    def __init__(
        self, revision: Revision, seed: str, known: facts.Facts, changed: frozenset[int] | None = None
    ) -> None:
        self.revision, self.seed, self.known = revision, seed, known
        past = revision.past
        self.together = past.together(seed) if past else {}
        self.imports = self._imported_by_seed()
        chunks = [words for place, words in enumerate(known.chunks) if changed is None or place in changed]
        counts: Counter[str] = Counter()
        for words in chunks or known.chunks:
            counts.update(tokens.of_counts(words))
        self.weights = self._weights(counts)
        self.cosine = {**self._cosine(revision.sources, counts), **self._cosine(revision.tests, counts)}
        self.words = {**self._similar(revision.sources), **self._similar(revision.tests)}
        self.second = self._second()
        defined = [
            each.name.rsplit(".", 1)[-1]
            for place, each in enumerate(known.definitions)
            if changed is None or place in changed
        ]
        self._defined = frozenset(name for name in defined if len(name) > 2)
        self.calls = self._callers()
        self.called = self._callees(changed)
        self.held = self._holders()
        self.paths = self._candidates()
        self.rows = self._rows()

    def _imported_by_seed(self) -> frozenset[str]:
        return frozenset(self.revision.imports.get(self.seed, ()))

    def _weights(self, counts: Mapping[str, int]) -> dict[str, float]:
        held = self.revision.sources.chunks
        weighed = {
            token: math.sqrt(count) * held.idf(len(held.holders(token))) ** 2
            for token, count in counts.items()
            if len(token) > 2
        }
        best = sorted(weighed, key=lambda token: (-weighed[token], token))[:_MOST_WORDS]
        return {token: math.sqrt(counts[token]) for token in best}

    def _similar(self, held: index.Index) -> dict[str, float]:
        if not len(held):
            return {}
        scores = Evidence(held, self.weights, chunks=False).words
        found = {held.paths[slot]: score for slot, score in scores.items() if held.paths[slot] != self.seed}
        return ranks.top(found)

    def _cosine(self, held: index.Index, counts: Mapping[str, int]) -> dict[str, float]:
        """Likeness by the tokens that the seed says most, the rare ones more, without BM25's ceiling on counts."""
        found: dict[int, float] = defaultdict(float)
        files = len(held)
        long = (token for token in counts if len(token) > 2)
        for token in sorted(long, key=lambda token: (-counts[token], token))[:_MOST_COMPARED]:
            times: dict[int, int] = defaultdict(int)
            for number, count in held.chunks.holders(token):
                times[held.chunk_slot[number]] += count
            if not 0 < len(times) <= files / 2:
                continue
            weight = (1.0 + math.log(counts[token])) * math.log(files / len(times)) ** 2
            for slot, count in times.items():
                found[slot] += weight * (1.0 + math.log(count)) / math.sqrt(held.file_lengths[slot] + 50.0)
        return {held.paths[slot]: score for slot, score in found.items() if held.paths[slot] != self.seed}

    def _second(self) -> dict[str, float]:
        """Files that change together with those that change together with the seed."""
        past = self.revision.past
        found: dict[str, float] = defaultdict(float)
        if past:
            near = sorted(self.together, key=lambda path: (-self.together[path], path))[:8]
            for path in near:
                share = self.together[path] / (past.churn(path) + 1.0)
                for other, weight in past.together(path).items():
                    if other != self.seed:
                        found[other] += share * weight
        return dict(found)

    def _callers(self) -> dict[str, float]:
        """Files whose code calls names that the seed defines; a name that many files define counts little."""
        found: dict[str, float] = defaultdict(float)
        worth = {name: 1.0 / self._definers(name) for name in sorted(self._defined)}
        for held in (self.revision.sources, self.revision.tests):
            for path, known in held.facts.items():
                if path == self.seed:
                    continue
                names = held.called_names(path)
                found_here = math.fsum(worth[name] for name in sorted(self._defined & names))
                if found_here:
                    found[path] = found_here / math.sqrt(1.0 + 0.01 * known.lines)
        return dict(found)

    def _callees(self, changed: frozenset[int] | None) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        calls = {
            name
            for place, each in enumerate(self.known.definitions)
            if changed is None or place in changed
            for name in each.calls
        }
        for name in sorted(calls):
            definers = self.revision.sources.definers.get(name.lower())
            if definers and len(definers) <= 5 and len(name) > 2:
                for path in definers:
                    found[path] += 1.0 / len(definers)
        found.pop(self.seed, None)
        return dict(found)

    def _definers(self, name: str) -> int:
        return max(1, len(self.revision.sources.definers.get(name.lower(), ())))

    def _holders(self) -> dict[str, float]:
        """Files that hold the seed's rarer names at all, in whatever way."""
        found: dict[str, float] = defaultdict(float)
        for held in (self.revision.sources, self.revision.tests):
            for name in sorted(self._defined):
                whole = tokens.of_word(name)
                if len(whole) < 2:
                    continue
                slots = {held.chunk_slot[number] for number, _ in held.chunks.holders(whole[-1])}
                for slot in slots:
                    found[held.paths[slot]] += 1.0 / (1.0 + len(slots))
        found.pop(self.seed, None)
        return dict(found)

    def _candidates(self) -> list[str]:
        everything = self.revision.sources.facts.keys() | self.revision.tests.facts.keys()
        everything = everything - {self.seed}
        if len(everything) <= MOST_CANDIDATES:
            return sorted(everything)
        folder = ranks.folder_of(self.seed)
        importers = self.revision.importers.get(self.seed, ())
        chosen = {path for path in (*self.imports, *importers[:40]) if path in everything}
        bare = ranks.bare(self.seed)
        near = [path for path in everything if ranks.folder_of(path) == folder or ranks.bare(path) == bare]
        chosen.update(sorted(near)[:40])
        for scores, most in (
            (self.together, 80),
            (self.second, 40),
            (self.calls, 40),
            (self.called, 20),
            (self.held, 40),
        ):
            ranked = sorted(scores, key=lambda path: (-scores[path], path))
            chosen.update([path for path in ranked if path in everything][:most])
        for role in (self.revision.sources.facts, self.revision.tests.facts):
            ranked = sorted((path for path in self.words if path in role), key=lambda path: (-self.words[path], path))
            chosen.update(ranked[:50])
        return sorted(chosen)

    def _rows(self) -> list[list[float]]:
        revision, past, seed = self.revision, self.revision.past, self.seed
        together, second = ranks.top(self.together), ranks.top(self.second)
        calls, called, held = ranks.top(self.calls), ranks.top(self.called), ranks.top(self.held)
        together_place = ranks.places({path: self.together.get(path, 0.0) for path in self.paths})
        words_place = ranks.places({path: self.words.get(path, 0.0) for path in self.paths})
        churn = ranks.top({path: past.churn(path) for path in self.paths}) if past else {}
        tied = ties.Ties(past, seed, self.paths)
        importers = revision.importers.get(seed, ())
        back = {path: 1.0 for first in importers for path in revision.importers.get(first, ())}
        forward = {path: 1.0 for first in self.imports for path in revision.imports.get(first, ())}
        seed_churn = past.churn(seed) if past else 0.0
        total = max(1, len(past.commits)) if past else 1
        commons = (math.log1p(len(revision.sources) + len(revision.tests)), math.log1p(total))
        my_bare, my_path = ranks.bare(seed), frozenset(tokens.of_path(seed))
        mine = seed.split("/")[:-1]
        rows, blend = [], {}
        for path in self.paths:
            role = revision.tests if path in revision.tests.facts else revision.sources
            known = role.facts[path]
            is_test = role is revision.tests
            theirs = frozenset(tokens.of_path(path))
            parts = path.split("/")[:-1]
            shared = sum(1 for _ in _common(mine, parts))
            subject = ranks.subjects_of(revision, path).get(seed, 0.0) if is_test else 0.0
            stem = ranks.bare(path)
            stems = frozenset(tokens.of_word(stem)) | {stem}
            own = frozenset(tokens.of_word(my_bare)) | {my_bare}
            blend[path] = (
                together.get(path, 0.0) + 0.8 * self.words.get(path, 0.0) + 0.6 * subject + 0.3 * calls.get(path, 0.0)
                + 0.2 * second.get(path, 0.0) + 0.3 * float(stem == my_bare)
            )  # fmt: skip
            rows.append(
                [
                    together.get(path, 0.0),
                    self.together.get(path, 0.0) / (seed_churn + 0.5),
                    together_place[path],
                    math.log1p(tied.common.get(path, 0)),
                    second.get(path, 0.0),
                    self.words.get(path, 0.0),
                    words_place[path],
                    len(theirs & self.weights.keys()) / max(1, len(theirs)),
                    float(my_bare in _called(role, path)) if len(my_bare) > 2 else 0.0,
                    float(stem == my_bare),
                    len(stems & own) / max(1, len(stems | own)),
                    len(theirs & my_path) / max(1, len(theirs | my_path)),
                    float(parts == mine),
                    float(len(mine) + len(parts) - 2 * shared),
                    float(path in self.imports),
                    float(path in importers),
                    back.get(path, 0.0),
                    forward.get(path, 0.0),
                    calls.get(path, 0.0),
                    called.get(path, 0.0),
                    held.get(path, 0.0),
                    float(self._extends(known)),
                    float(is_test),
                    subject,
                    float(is_test and parts[-1:] == mine[-1:]),
                    churn.get(path, 0.0),
                    past.last_change(path) / max(ranks.LONG_PAST, total) if past else 1.0,
                    math.log1p(seed_churn),
                    math.log1p(len(self.together)),
                    math.log1p(known.lines),
                    math.log1p(self.known.lines),
                    commons[0],
                    math.log1p(len(revision.importers.get(path, ()))),
                    commons[1],
                ]
            )
        blend_place, blend_top, cosine = ranks.places(blend), ranks.top(blend), ranks.top(self.cosine)
        for path, row in zip(self.paths, rows, strict=True):
            row.extend((blend_place[path], blend_top.get(path, 0.0), cosine.get(path, 0.0), *tied.row(path)))
        return rows

    def extends(self, path: str) -> bool:
        """Whether a type of that file extends or implements one of the changed."""
        role = self.revision.tests if path in self.revision.tests.facts else self.revision.sources
        return self._extends(role.facts[path])

    def called_by(self, path: str) -> list[str]:
        """The changed names that a file calls, those that the fewest files define first."""
        role = self.revision.tests if path in self.revision.tests.facts else self.revision.sources
        return sorted(self._defined & role.called_names(path), key=lambda name: (self._definers(name), name))

    def _extends(self, known: facts.Facts) -> bool:
        return any(base in self._defined for each in known.definitions for base in each.bases)


def _called(held: index.Index, path: str) -> frozenset[str]:
    """Every name that a file calls, lower case."""
    return frozenset(name.lower() for name in held.called_names(path))


def _common(one: Sequence[str], other: Sequence[str]) -> Sequence[str]:
    kept = []
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        kept.append(left)
    return kept
