"""Where to look for what a text speaks of: files and definitions, best first, each with the reasons for it."""

import dataclasses
import math
from collections.abc import Sequence

from codegraph import columns, features, model, question, ranks, symbols
from codegraph.revision import Revision

MOST_FILES = 30
MOST_SYMBOLS = 40
_MOST_REASONS = 3
_MOST_WORDS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """One file.

    Attributes:
        path: Its path at the revision.
        score: The ranker's score; only its order among the files of one answer means anything.
        probability: How likely a change for this text touches the file, 0 to 1.
        reasons: What speaks for it, strongest first, in words.
    """

    path: str
    score: float
    probability: float
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SymbolHit:
    """One definition: its file, dotted name, lines, signature and score."""

    path: str
    name: str
    line: int
    end: int
    signature: str
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What `locate` found, best first. Both are empty when nothing of the text leads to any file."""

    files: tuple[Hit, ...]
    symbols: tuple[SymbolHit, ...]


def locate(revision: Revision, text: str, *, most: int = MOST_FILES) -> Answer:
    """Rank the sources of a revision for a text. The same revision and text give the same answer, whatever was asked
    before. Tests are not in it: `covering_tests` names those of the files found."""
    asked = question.read(text)
    if not asked.weights or not len(revision.sources):
        return Answer((), ())
    return answered(features.Table(revision, asked), most)


def answered(found: features.Table, most: int) -> Answer:
    """The answer of a table that is there already."""
    ranked = ranking(found)[:most] if found.first else []
    return Answer(_hits(found, ranked), _symbols(found, ranked))


def ranking(found: features.Table) -> list[tuple[str, float]]:
    """Every candidate of a table with the learned score, best first, ties by path."""
    learned = model.load("locate", columns.NAMES)
    scored = list(zip(found.paths, learned.scores(found.rows), strict=True))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


def _hits(found: features.Table, ranked: Sequence[tuple[str, float]]) -> tuple[Hit, ...]:
    rows = dict(zip(found.paths, found.rows, strict=True))
    probabilities = model.calibration("locate").probabilities([score for _, score in ranked])
    return tuple(
        Hit(path, round(score, 4), round(probability, 4), _Reasons(found, path, rows[path]).best())
        for (path, score), probability in zip(ranked, probabilities, strict=True)
    )


def _symbols(found: features.Table, ranked: Sequence[tuple[str, float]]) -> tuple[SymbolHit, ...]:
    learned = model.load("symbols", symbols.NAMES)
    scored = [(learned.score(each.row), each) for each in symbols.table(found, ranked)]
    scored.sort(key=lambda pair: (-pair[0], pair[1].path, pair[1].definition.start, pair[1].definition.name))
    kept: dict[tuple[str, str], SymbolHit] = {}
    for score, each in scored:
        about = each.definition
        key = (each.path, about.name)
        if key not in kept:
            kept[key] = SymbolHit(each.path, about.name, about.start, about.end, about.signature, round(score, 4))
        if len(kept) == MOST_SYMBOLS:
            break
    return tuple(kept.values())


class _Reasons:
    """Puts the evidence of one row into words."""

    def __init__(self, found: features.Table, path: str, row: Sequence[float]) -> None:
        self._found = found
        self._path = path
        self._row = row

    def best(self) -> tuple[str, ...]:
        made = [self._named, self._defines, self._words, self._past, self._tests, self._companion, self._near]
        found = [(weight, order, words) for order, make in enumerate(made) for weight, words in [make()] if words]
        found.sort(key=lambda each: (-each[0], each[1]))
        return tuple(words for _, _, words in found[:_MOST_REASONS]) or (self._rest(),)

    def _rest(self) -> str:
        if self._value("path_covered"):
            return "its path speaks of the text"
        beside = ("near_top", "together_top", "folder_top", "callee_top", "caller_top")
        return "close to files that speak of the text" if any(map(self._value, beside)) else "little speaks for it"

    def _value(self, column: str) -> float:
        return self._row[columns.NAMES.index(column)]

    def _named(self) -> tuple[float, str]:
        return 3.0, "the text names this file" if self._value("mentioned") else ""

    def _defines(self) -> tuple[float, str]:
        held = self._found.revision.sources
        names = {each.name.rsplit(".", 1)[-1] for each in held.facts[self._path].definitions}
        asked = self._found.asked.words
        hits = sorted(
            (name for name in names if name.lower() in asked and len(name) > 2),
            key=lambda name: (len(held.definers.get(name.lower(), ())), name),
        )
        return 0.5 + min(1.5, self._value("defined")), f"defines {', '.join(hits[:3])}" if hits else ""

    def _words(self) -> tuple[float, str]:
        slot = self._found.revision.sources.slots[self._path]
        said = [word for word, slots in self._found.spoken if slot in slots][:_MOST_WORDS]
        return self._value("words_top"), f"speaks of {', '.join(said)}" if said else ""

    def _past(self) -> tuple[float, str]:
        vote = self._found.votes.get(self._path)
        return 0.9 * self._value("votes_top"), "past changes with these words touched it" if vote else ""

    def _tests(self) -> tuple[float, str]:
        return 0.6 * self._value("bridge_top"), "its tests speak of it" if self._path in self._found.bridge else ""

    def _companion(self) -> tuple[float, str]:
        past = self._found.revision.past
        if not past or self._path not in self._found.together:
            return 0.0, ""
        together = past.together(self._path)
        others = [path for path in self._found.seeds if path in together and path != self._path]
        return 0.5 * self._value("together_top"), f"changes together with {others[0]}" if others else ""

    def _near(self) -> tuple[float, str]:
        imports, importers = self._found.revision.imports, self._found.revision.importers
        for path in self._found.seeds:
            if path in imports.get(self._path, ()):
                return 0.4 * self._value("near_top"), f"imports {path}"
            if path in importers.get(self._path, ()):
                return 0.4 * self._value("near_top"), f"is imported by {path}"
        return 0.0, ""


def covering_tests(revision: Revision, paths: Sequence[str], most: int = 8) -> tuple[str, ...]:
    """The tests that are about some files: those of their name first, then those that import them."""
    scores: dict[str, float] = {}
    wanted = {path: 1.0 / math.log2(place + 1) for place, path in enumerate(paths, 1)}
    for test in revision.tests.facts:
        shares = ranks.subjects_of(revision, test)
        score = math.fsum(share * wanted[path] for path, share in shares.items() if path in wanted)
        if score:
            scores[test] = score
    return tuple(sorted(scores, key=lambda path: (-scores[path], path))[:most])
