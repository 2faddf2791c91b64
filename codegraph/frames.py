"""Suspect files: which of our files the frames of a stack trace run in, and which frames are not ours."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from codegraph import facts, manifest, objects, project
from codegraph.finder import Finder, Place
from codegraph.stack import Frame, trace

__all__ = ["Finder", "Frame", "Place", "Suspect", "at", "predictions", "rank", "suspects", "trace"]

_HALVING: Final = 0.5
"""Each further file of a trace counts half, so all others together never outweigh the innermost one."""
_OUTSIDE: Final = 0.25
"""What a frame counts that the reporter calls foreign, even where the path says that it is ours."""
_ELSEWHERE: Final = frozenset({"vendored", "built", "mirrored", "symlink", "submodule"})
"""Files left out of the index that no frame is placed in: copies of code that is written elsewhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """One of our files with all that a stack trace says for it.

    Attributes:
        path: The file.
        score: From 0 to 2; only its order means something.
        places: Places in it, innermost first, each once.
        reasons: Why, best first.
    """

    path: str
    score: float
    places: tuple[Place, ...]
    reasons: tuple[str, ...]


def at(
    repository: objects.Repository, made: manifest.Manifest, held: Mapping[str, facts.Facts], names: Iterable[str] = ()
) -> Finder:
    """The finder of a revision.

    Args:
        repository: Where its project files are read.
        made: What the revision holds.
        held: Facts of its sources and tests by path.
        names: Names of the repository, such as `owner/name`; with them it is known as an installed package.

    Raises:
        objects.Error: Git could not answer.
    """
    files = {path: held.get(path) for path, file in made.files.items() if file.skipped not in _ELSEWHERE}
    contents = dict(repository.read(sorted(set(made.project_files.values()))))
    declared = {path: contents.get(blob) or b"" for path, blob in made.project_files.items()}
    return Finder(files, project.read(declared, names))


def suspects(
    files: Mapping[str, facts.Facts | None], frames: Iterable[Frame], known: project.Project | None = None
) -> list[Place]:
    """A place for every frame, in their order."""
    finder = Finder(files, known)
    seen: dict[Frame, Place] = {}
    places = []
    for frame in frames:
        if frame not in seen:  # a recursion repeats its frames
            seen[frame] = finder.place(frame)
        places.append(seen[frame])
    return places


def rank(frames: Sequence[Frame], places: Sequence[Place]) -> list[Suspect]:
    """Our files of a stack trace, the most suspect first.

    The innermost frame that the reporter counts to the application leads; each file further out weighs half of the one
    before, and files that return weigh more.

    Args:
        frames: Outermost first, as crash reporters list them.
        places: A place for each.
    """
    scores: dict[str, float] = defaultdict(float)
    found: dict[str, list[Place]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    weights = {True: 1.0, False: _OUTSIDE}
    before, lead = None, None
    for frame, place in reversed(list(zip(frames, places, strict=True))):
        if place.path is None:
            continue
        counts[place.path] += 1
        if place not in found[place.path]:
            found[place.path].append(place)
        if place.path == before:  # a recursion is one visit
            continue
        inside = frame.in_app is not False
        lead = place.path if lead is None and inside else lead
        scores[place.path] += weights[inside] * place.confidence
        weights[inside] *= _HALVING
        before = place.path
    return [
        Suspect(
            path, round(scores[path], 6), tuple(found[path]), _reasons(found[path], counts[path], lead=path == lead)
        )
        for path in sorted(scores, key=lambda path: (-scores[path], path))
    ]


def _reasons(places: Sequence[Place], count: int, *, lead: bool) -> tuple[str, ...]:
    heads = ["the innermost frame of the application"] if lead else []
    times = [f"in {count} frames"] if count > 1 else []
    return (*heads, *times, *(place.reason for place in places[:3]))


def predictions(
    cases: Iterable[Mapping[str, Any]], finder_at: Callable[[str, str], Finder]
) -> Iterator[dict[str, object]]:
    """Answers to a batch of cases (`id`, `repo`, `commit`, `frame`), each as `{"id", "path", "symbol"}`.

    Args:
        cases: In any order; those of one commit are best kept together.
        finder_at: Gives the finder for a repository's name and a commit.
    """
    key, finder = ("", ""), None
    for case in cases:
        wanted = (str(case.get("repo", "")), str(case.get("commit") or case.get("parent") or ""))
        if finder is None or wanted != key:
            key, finder = wanted, finder_at(*wanted)
        place = finder.place(Frame.read(case.get("frame")))
        yield {"id": case.get("id"), "path": place.path, "symbol": place.symbol}
