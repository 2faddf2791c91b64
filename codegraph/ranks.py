"""Scores made comparable, and the small facts about paths that several tables need."""

import math
from collections.abc import Mapping

from codegraph.revision import Revision

LONG_PAST = 1_000
"""Commits of which the age of a change is a share at least: in a past of ten commits, two commits are not an age."""


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
    stem = stem_of(test)
    return stem.removeprefix("test_").removesuffix("_test").removesuffix("_tests").removeprefix("test-")


def stem_of(path: str) -> str:
    """The name of a file up to its first dot, lower case."""
    return path.rpartition("/")[2].partition(".")[0].lower()


def folder_of(path: str) -> str:
    """The folder of a file; empty at the root."""
    return path.rpartition("/")[0]


def top(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores divided by the best one; empty when there is none above 0."""
    best = max(scores.values(), default=0.0)
    return {path: score / best for path, score in scores.items()} if best > 0 else {}


def places(scores: Mapping[str, float]) -> dict[str, float]:
    """By rank: 1 for the best, 1/2 for the second, ...; 0 for what has nothing."""
    ranked = sorted((path for path in scores if scores[path] > 0), key=lambda path: (-scores[path], path))
    return {**dict.fromkeys(scores, 0.0), **{path: 1.0 / place for place, path in enumerate(ranked, 1)}}
