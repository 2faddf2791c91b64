"""How the past ties two files together, beyond how often they changed together: the columns of one file's row.

A count of common changes says little of files that seldom change. So it is told from both sides, against chance, and
for the newest changes alone; and files that never changed together may have been changed for the same kinds of reasons.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from codegraph import past, ranks

NAMES = (
    "newest_5", "newest_20", "newest_100", "ages_apart", "together_ever", "share_of_seed", "share_of_path", "jaccard",
    "surprise", "last_5", "last_15", "since_together", "closest", "folder_share", "topic", "topic_top",
)  # fmt: skip
"""The columns, in order."""

_NEVER = 5_000


class Ties:
    """What the past says of one file and any other. Without a past it says nothing (0).

    Of a file that the known commits never touched they say what they say of one that was touched before all of them:
    it is tied to nothing, and seldom changed.

    Attributes:
        common: How many commits touched the seed and another file, by the other.
    """

    def __init__(self, known: past.Past | None, seed: str, paths: list[str]) -> None:
        self._past, self._seed = known, seed
        self._recent, self._newest = (0, 0), (Counter[str](), Counter[str]())
        self._since: dict[str, int] = {}
        self._ever: dict[str, float] = {}
        self._closest: dict[str, float] = {}
        self._folders: Counter[str] = Counter()
        self.common: dict[str, int] = {}
        self._counted = 0
        self._topics: dict[str, float] = {}
        if known is None:
            return
        self.common = known.common(seed)
        self._read(known, known.places(seed))
        topic = known.topic(seed)
        self._topics = {path: _dot(topic, known.topic(path)) for path in paths}
        self._best_topic = max(self._topics.values(), default=0.0) or 1.0
        self._most = max((self._ever.get(path, 0.0) for path in paths), default=0.0) or 1.0

    def _read(self, known: past.Past, places: Sequence[int]) -> None:
        self._recent = (min(5, len(places)), min(15, len(places)))
        for number, place in enumerate(places):
            paths = known.commits[place].paths
            if len(paths) > past.CROWD:
                continue
            self._counted += 1
            worth = 1.0 / math.log2(2 + len(paths))
            close = known.age(place) / len(paths)
            for limit, newest in zip((5, 15), self._newest, strict=True):
                if number < limit:
                    newest.update(paths)
            for path in paths:
                self._since.setdefault(path, place)
                self._ever[path] = self._ever.get(path, 0.0) + worth
                self._closest[path] = max(self._closest.get(path, 0.0), close)
            self._folders.update({ranks.folder_of(path) for path in paths if path != self._seed})
        self._ever.pop(self._seed, None)

    def row(self, path: str) -> list[float]:
        """One file's values, in the order of their names."""
        known = self._past
        if known is None or not known.commits:
            return [0.0] * len(NAMES)
        last, mine, theirs = known.last_change(path), known.changes(self._seed), known.changes(path)
        common, total = self.common.get(path, 0), len(known.commits)
        return [
            float(theirs > 0 and last < 5),
            float(theirs > 0 and last < 20),
            float(theirs > 0 and last < 100),
            math.log1p(abs(last - known.last_change(self._seed))),
            self._ever.get(path, 0.0) / self._most,
            common / (mine + 1),
            common / (theirs + 1),
            common / (mine + theirs - common + 1),
            math.log((common + 0.3) * total / ((mine + 1) * (theirs + 1))),
            self._newest[0][path] / max(1, self._recent[0]),
            self._newest[1][path] / max(1, self._recent[1]),
            1.0 / (1.0 + math.log1p(self._since.get(path, _NEVER))),
            self._closest.get(path, 0.0),
            self._folders[ranks.folder_of(path)] / (self._counted + 1),
            self._topics.get(path, 0.0),
            self._topics.get(path, 0.0) / self._best_topic,
        ]


def _dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    if len(other) < len(one):
        one, other = other, one
    return math.fsum(weight * other[token] for token, weight in one.items() if token in other)
