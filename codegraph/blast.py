"""What a change can break: files to review, tests to run, files to watch, each ranked and with its reasons."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from codegraph import changes, model, relations
from codegraph.revision import Revision

MOST = 40
_MOST_SEEDS = 20
_SURE = 0.2
"""Probability from which a file must be reviewed."""
_REMOTE = 0.02
"""Probability below which a file is not even watched."""


@dataclasses.dataclass(frozen=True, slots=True)
class Touched:
    """One file that the change bears on.

    Attributes:
        path: Its path.
        probability: How likely a complete change touches it too, 0 to 1.
        reasons: Why, strongest first.
    """

    path: str
    probability: float
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Radius:
    """The answer: three lists, each best first, and all of them in one order.

    Attributes:
        review: Sources that use what changed, or that nearly always change with it.
        tests: Tests of what changed.
        watch: Other sources that may be concerned.
        ranked: Every path of the three lists, the most likely first.
        left_out: Changed files beyond the first 20, which were not looked at.
    """

    review: tuple[Touched, ...]
    tests: tuple[Touched, ...]
    watch: tuple[Touched, ...]
    ranked: tuple[str, ...]
    left_out: int = 0


def radius(revision: Revision, changed: Sequence[changes.Change], most: int = MOST) -> Radius:
    """Rank the files that a change bears on. `revision` is the base of the change; its own files are not in the
    answer."""
    own = {each.path for each in changed}
    missed: dict[str, float] = {}
    direct: dict[str, bool] = {}
    reasons: dict[str, list[tuple[float, str]]] = {}
    for each in changed[:_MOST_SEEDS]:
        found = relations.Table(revision, each.path, each.known, each.definitions)
        for path, probability, row in _scored(found):
            if path in own:
                continue
            missed[path] = missed.get(path, 1.0) * (1.0 - probability)
            said = tuple(_reasons(found, path, row))
            direct[path] = direct.get(path, False) or _is_direct(found, path)
            reasons.setdefault(path, []).extend((probability * weight, words) for weight, words in said)
    ranked = sorted(missed, key=lambda path: (missed[path], path))
    ranked = [path for place, path in enumerate(ranked) if 1.0 - missed[path] >= _REMOTE or place < 5][:most]
    touched = {path: Touched(path, round(1.0 - missed[path], 4), _best(reasons[path])) for path in ranked}
    tests = [path for path in ranked if path in revision.tests.facts]
    sources = [path for path in ranked if path in revision.sources.facts]
    review = [path for path in sources if touched[path].probability >= _SURE or direct[path]]
    watch = [path for path in sources if path not in set(review)]
    return Radius(
        tuple(touched[path] for path in review),
        tuple(touched[path] for path in tests),
        tuple(touched[path] for path in watch),
        tuple(ranked),
        max(0, len(changed) - _MOST_SEEDS),
    )


def _scored(found: relations.Table) -> list[tuple[str, float, Sequence[float]]]:
    learned = model.load("blast", relations.NAMES)
    scored = list(zip(learned.scores(found.rows), found.paths, found.rows, strict=True))
    scored.sort(key=lambda each: (-each[0], each[1]))
    probabilities = model.calibration("blast").probabilities([score for score, _, _ in scored])
    return [(path, chance, row) for (_, path, row), chance in zip(scored, probabilities, strict=True)]


def _is_direct(found: relations.Table, path: str) -> bool:
    """It calls or extends, by a name that few files define, what changed."""
    return found.calls.get(path, 0.0) >= 0.5 or found.extends(path)


def _reasons(found: relations.Table, path: str, row: Sequence[float]) -> Iterable[tuple[float, str]]:
    value = dict(zip(relations.NAMES, row, strict=True))
    seed = found.seed
    if value["subject"]:
        yield 1.2 * value["subject"], f"tests {seed}"
    if found.extends(path):
        yield 1.1, f"extends a type of {seed}"
    if value["calls_top"]:
        names = ", ".join(found.called_by(path)[:3])
        yield 0.4 + 0.6 * value["calls_top"], f"calls {names} of {seed}"
    if value["together_top"]:
        times = round(math.expm1(value["together_count"]))
        yield 0.9 * value["together_top"], f"changed together with {seed} {times} time{'s' * (times != 1)}"
    if value["imported"]:
        yield 0.5, f"imports {seed}"
    if value["imports"]:
        yield 0.3, f"is imported by {seed}"
    if value["words_top"] > 0.3:
        yield 0.4 * value["words_top"], f"speaks of the same things as {seed}"


def _best(said: Iterable[tuple[float, str]]) -> tuple[str, ...]:
    weights: dict[str, float] = {}
    for weight, words in said:
        weights[words] = max(weights.get(words, 0.0), weight)
    return tuple(sorted(weights, key=lambda words: (-weights[words], words))[:3]) or ("near to what changed",)
