"""Whether two pieces of work will collide: where each one will probably change the code, and what the two share."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from codegraph import changes, features, model, navigate, question
from codegraph.revision import Revision

NAMES = (
    "both", "both_rare", "best", "overlap", "overlap_deep", "first_same", "first_in_other", "words_alike",
    "symbols_both", "sure_one", "sure_other", "files", "commons", "folders", "alike", "hubs", "both_root", "both_least",
    "least",
)  # fmt: skip
"""The columns of a pair, in order. The shipped weights know columns by their places."""

_DEPTH = 40
"""Files of a forecast: what two works share is often likely for neither."""
_SHOWN = 5
_SURE = 0.95
"""What is changed on a branch may still be taken back."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Where work for one text will probably change the code.

    Attributes:
        files: Probability of each likely file, the likeliest first.
        symbols: Probability of each likely definition (`path::Name`), the likeliest first.
        rarity: For each file, 0 to 1, how seldom work of any kind touches it.
        weights: What each token of the text is worth.
        size: Count of sources of the revision.
        done: It is what work has changed, and not a guess from a text.
    """

    files: Mapping[str, float]
    symbols: Mapping[str, float]
    rarity: Mapping[str, float]
    weights: Mapping[str, float]
    size: int
    done: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Clash:
    """What two forecasts share.

    Attributes:
        probability: How likely both works change at least one file in common, 0 to 1.
        serialize: Whether to let one wait for the other: chosen so that nine of ten real collisions are caught.
        files: The files most likely changed by both, each with the probability of that.
        symbols: The same for definitions.
    """

    probability: float
    serialize: bool
    files: tuple[tuple[str, float], ...]
    symbols: tuple[tuple[str, float], ...]


def forecast(revision: Revision, text: str) -> Forecast:
    """Where work for a text will probably change the code of a revision. A text that says nothing gives nothing."""
    asked = question.read(text)
    if not asked.weights or not len(revision.sources):
        return Forecast({}, {}, {}, {}, len(revision.sources))
    found = features.Table(revision, asked)
    answer = navigate.answered(found, _DEPTH)
    files = {hit.path: hit.probability for hit in answer.files}
    symbols = {
        f"{each.path}::{each.name}": files.get(each.path, 0.0) / math.sqrt(place)
        for place, each in enumerate(answer.symbols, 1)
    }
    return Forecast(files, symbols, _rarity(revision, files), found.weights, len(revision.sources))


def of_changes(revision: Revision, changed: Sequence[changes.Change]) -> Forecast:
    """The forecast of work that is under way: what it has changed so far, it changes."""
    files = {each.path: _SURE for each in changed if each.path in revision.sources.facts or each.new}
    symbols = {f"{each.path}::{name}": _SURE for each in changed if each.path in files for name in each.names}
    return Forecast(files, symbols, _rarity(revision, files), {}, len(revision.sources), done=True)


def _rarity(revision: Revision, paths: Iterable[str]) -> dict[str, float]:
    past = revision.past
    total = max(1, len(past.commits)) if past else 1
    counts = {path: past.changes(path) if past else 0 for path in paths}
    return {path: 1.0 / (1.0 + 20.0 * count / total) for path, count in counts.items()}


def columns(one: Forecast, other: Forecast) -> list[float]:
    """The row of a pair; it is the same either way round."""
    shared = sorted(one.files.keys() & other.files.keys())
    parts = {path: one.files[path] * other.files[path] for path in shared}
    rare = {path: parts[path] * min(one.rarity[path], other.rarity[path]) for path in shared}
    place_one = {path: place for place, path in enumerate(one.files, 1)}
    place_other = {path: place for place, path in enumerate(other.files, 1)}
    first_one, first_other = next(iter(one.files), ""), next(iter(other.files), "")
    deep = [1.0 / (math.log2(place_one[path] + 1) * math.log2(place_other[path] + 1)) for path in shared]
    top = [1.0 / (place_one[path] * place_other[path]) for path in shared]
    symbols = {name: one.symbols[name] * other.symbols[name] for name in one.symbols.keys() & other.symbols.keys()}
    first_in_other = (other.files.get(first_one, 0.0), one.files.get(first_other, 0.0))
    sure = sorted((next(iter(one.files.values()), 0.0), next(iter(other.files.values()), 0.0)))
    return [
        _any(parts),
        _any(rare),
        max(parts.values(), default=0.0),
        math.fsum(top),
        math.fsum(deep),
        float(bool(first_one) and first_one == first_other),
        sum(first_in_other),
        _alike(one.weights, other.weights),
        _any(symbols),
        *sure,
        math.log1p(min(one.size, other.size)),
        math.log1p(len(shared)),
        _folders(one, other),
        _alike(one.files, other.files),
        _hubs(one) * _hubs(other),
        math.fsum(math.sqrt(part) for part in parts.values()),
        math.fsum(min(one.files[path], other.files[path]) for path in shared),
        min(math.fsum(one.files.values()), math.fsum(other.files.values())),
    ]


def clash(one: Forecast, other: Forecast) -> Clash:
    """Whether two works will collide. The weights were learned from pairs of texts: with work that is done already, the
    probabilities of the files tell all."""
    if not one.files or not other.files:
        return Clash(0.0, False, (), ())
    shared = {path: chance * other.files[path] for path, chance in one.files.items() if path in other.files}
    if one.done or other.done:
        probability = _any(shared)
    else:
        probability = model.logistic(model.load("conflict", NAMES).score(columns(one, other)))
    symbols = {name: chance * other.symbols[name] for name, chance in one.symbols.items() if name in other.symbols}
    limit = model.threshold("conflict")
    return Clash(round(probability, 4), probability >= limit, _likeliest(shared), _likeliest(symbols))


def _likeliest(shared: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    ranked = sorted(shared, key=lambda name: (-shared[name], name))[:_SHOWN]
    return tuple((name, round(shared[name], 4)) for name in ranked)


def _any(chances: Mapping[str, float]) -> float:
    """Probability that at least one of independent things happens."""
    none = 1.0
    for name in sorted(chances):
        none *= 1.0 - chances[name]
    return 1.0 - none


def _alike(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    shared = math.fsum(one[token] * other[token] for token in sorted(one.keys() & other.keys()))
    lengths = math.hypot(*one.values()) * math.hypot(*other.values())
    return shared / lengths if lengths else 0.0


def _hubs(of: Forecast) -> float:
    """How many files that work of any kind touches often a work will probably change."""
    return math.fsum(chance * (1.0 - of.rarity[path]) for path, chance in of.files.items())


def _folders(one: Forecast, other: Forecast) -> float:
    def weights(of: Forecast) -> dict[str, float]:
        found: dict[str, float] = {}
        for path, chance in of.files.items():
            folder = path.rpartition("/")[0]
            found[folder] = found.get(folder, 0.0) + chance
        return found

    return _alike(weights(one), weights(other))
