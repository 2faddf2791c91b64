"""What a repository's own past says: which files past changes of the same words touched, and which change together."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from codegraph import history, postings, tokens

_HALF_LIFE = 400
"""Commits after which a past change counts half."""
_ENOUGH = 100
"""Commits from which on their words tell which words are common."""
CROWD = 30
"""A commit of more files than this says nothing of any two of them."""
_SPOKEN = 80
"""Newest commits of a file whose subjects tell what it is about."""


@dataclasses.dataclass(frozen=True, slots=True)
class Vote:
    """What past commits of similar words say for one file: the sum over them, and the best single one."""

    total: float
    best: float


class Messages:
    """The words of all commits ever seen; a revision selects those of its own past."""

    def __init__(self) -> None:
        self._postings = postings.Postings()
        self._numbers: dict[str, int] = {}
        self._selected: frozenset[int] = frozenset()
        self._subjects: dict[str, tuple[str, ...]] = {}
        self._idfs: dict[str, float] = {}

    def select(self, commits: Sequence[history.Commit]) -> dict[int, int]:
        """Make exactly these the living documents; gives each one's place in `commits` by its number."""
        places: dict[int, int] = {}
        for place, commit in enumerate(commits):
            number = self._numbers.get(commit.sha)
            if number is None:
                number = self._numbers[commit.sha] = self._postings.add(tokens.of_text(commit.text))
                self._postings.remove(number)
            places[number] = place
        wanted = frozenset(places)
        for number in self._selected - wanted:
            self._postings.remove(number)
        for number in wanted - self._selected:
            self._postings.revive(number)
        self._selected = wanted
        self._idfs = {}
        return places

    def idf(self, token: str) -> float:
        """How rare a token is in the selected commits' messages."""
        held = self._idfs.get(token)
        if held is None:
            held = self._idfs[token] = self._postings.idf(self._postings.count(token))
        return held

    def subject(self, commit: history.Commit) -> tuple[str, ...]:
        """The tokens of a message's first line."""
        held = self._subjects.get(commit.sha)
        if held is None:
            held = self._subjects[commit.sha] = tuple(tokens.of_text(commit.text.partition("\n")[0]))
        return held

    def scores(self, weights: Mapping[str, float]) -> dict[int, float]:
        """BM25 of the selected commits."""
        return self._postings.scores(weights)


class Past:
    """The past of one revision."""

    def __init__(self, known: history.History, messages: Messages) -> None:
        self.commits = known.commits
        self._messages = messages
        self._places = messages.select(known.commits)
        self._of_path: dict[str, list[int]] = defaultdict(list)
        for place, commit in enumerate(known.commits):
            for path in commit.paths:
                self._of_path[path].append(place)
        self._churn: dict[str, float] = {}
        self._topics: dict[str, dict[str, float]] = {}

    @staticmethod
    def age(place: int) -> float:
        """What a change counts that so many commits followed: 1 for the newest, half after 400."""
        return float(0.5 ** (place / _HALF_LIFE))

    def churn(self, path: str) -> float:
        """How much a file has been changed, the recent counting more."""
        held = self._churn.get(path)
        if held is None:
            held = sum(
                self.age(place) / (1.0 + math.log(max(1, len(self.commits[place].paths))))
                for place in self._of_path.get(path, ())
            )
            self._churn[path] = held
        return held

    def places(self, path: str) -> Sequence[int]:
        """Which of the known commits touched a file, as places in `commits`, the newest first."""
        return self._of_path.get(path, ())

    def topic(self, path: str) -> Mapping[str, float]:
        """What the newest commits that touched a file spoke of: their subjects' tokens, as a vector of length 1."""
        held = self._topics.get(path)
        if held is None:
            counts: dict[str, float] = defaultdict(float)
            for place in self.places(path)[:_SPOKEN]:
                commit = self.commits[place]
                if len(commit.paths) <= CROWD:
                    for token in self._messages.subject(commit):
                        counts[token] += 1.0 / math.sqrt(len(commit.paths))
            held = {token: math.sqrt(count) * self._messages.idf(token) for token, count in counts.items()}
            length = math.hypot(*held.values()) or 1.0
            held = self._topics[path] = {token: weight / length for token, weight in held.items()}
        return held

    def changes(self, path: str) -> int:
        """How many of the known commits touched a file."""
        return len(self._of_path.get(path, ()))

    def last_change(self, path: str) -> int:
        """How many commits ago a file was last touched; the count of all known commits when never."""
        places = self._of_path.get(path)
        return places[0] if places else len(self.commits)

    def telling(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The weights of a question's tokens, lessened for those that this repository's messages use all the time.

        "fix", "add" and "support" are rare in code, so by the code alone they would look like the best of clues.
        """
        if len(self.commits) < _ENOUGH:
            return dict(weights)
        most = self._messages.idf("")
        return {token: weight * self._messages.idf(token) / most for token, weight in weights.items()}

    def votes(self, weights: Mapping[str, float], most: int = 60) -> dict[str, Vote]:
        """For every file the past commits with words of a question that touched it."""
        scored = self._messages.scores(weights)
        best = sorted(scored, key=lambda number: (-scored[number], self._places[number]))[:most]
        totals: dict[str, float] = defaultdict(float)
        highest: dict[str, float] = defaultdict(float)
        for number in best:
            place = self._places[number]
            paths = self.commits[place].paths
            if not paths or len(paths) > CROWD:
                continue
            worth = scored[number] ** 3 / math.sqrt(len(paths)) * (0.5 + 0.5 * self.age(place))
            for path in paths:
                totals[path] += worth
                highest[path] = max(highest[path], scored[number])
        return {path: Vote(totals[path], highest[path]) for path in totals}

    def common(self, path: str) -> dict[str, int]:
        """How many commits touched a file and another one, by the other."""
        found: dict[str, int] = defaultdict(int)
        for place in self._of_path.get(path, ()):
            if 1 < len(self.commits[place].paths) <= CROWD:
                for other in self.commits[place].paths:
                    found[other] += 1
        found.pop(path, None)
        return dict(found)

    def together(self, path: str) -> dict[str, float]:
        """Files changed in the same commits, by a weight: small and recent commits count more."""
        found: dict[str, float] = defaultdict(float)
        for place in self._of_path.get(path, ()):
            paths = self.commits[place].paths
            if not 1 < len(paths) <= CROWD:
                continue
            worth = self.age(place) / math.log2(1 + len(paths))
            for other in paths:
                if other != path:
                    found[other] += worth
        return dict(found)
