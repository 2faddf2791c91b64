"""What a difference of two revisions touches: files, and in them the definitions whose lines it changed."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from codegraph import diffs, extract, facts, languages, objects, skips
from codegraph.revision import Revision

MOST_FILES = 60
"""Changed files of one difference that are looked into; those with the most changed lines come first."""
_STEP: Final = 4
"""Columns that a body is indented by, as far as is known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One changed file.

    Attributes:
        path: Its path; the old one where it was deleted.
        known: Its facts: at the base, or at the head for a file that is new there.
        definitions: Places of the changed definitions in the facts, and `len(known.definitions)` for lines outside of
            every one; None: all of the file; empty: the file was not looked into.
        new: The base does not hold it.
    """

    path: str
    known: facts.Facts
    definitions: frozenset[int] | None = None
    new: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Dotted names of the changed definitions, in order of the file."""
        return tuple(
            each.name
            for place, each in enumerate(self.known.definitions)
            if self.definitions is None or place in self.definitions
        )


def between(repository: objects.Repository, base: str, head: str, revision: Revision) -> tuple[Change, ...]:
    """The changes from `base`, at which `revision` stands, to `head`, those with the most changed lines first. Files of
    no known language, and new ones that no index would hold, are left out; beyond the first `MOST_FILES` nothing is
    known but the path.

    Raises:
        objects.Error: A revision does not exist, or git could not answer.
    """
    entries, lost = repository.diff_tree(base, head)
    gone = map(objects.readable, lost)
    parts = {part.path: part for part in diffs.parts(repository.changed_lines(base, head))}
    known = {**revision.sources.facts, **revision.tests.facts}
    fresh = {
        path: entry.blob
        for path, entry in ((objects.readable(entry.path), entry) for entry in entries)
        if languages.language_of(path) and (path in known or entry.mode not in objects.LINKS)
    }
    wanted = [path for path in {**fresh, **dict.fromkeys(gone)} if path in known or not skips.by_path(path)]
    ranked = sorted(
        (path for path in wanted if path in known or path in fresh),
        key=lambda path: (-parts[path].size if path in parts else 0, path),
    )
    first = frozenset(path for path in ranked[:MOST_FILES] if path not in known)
    contents = dict(repository.read(sorted({fresh[path] for path in first})))
    found: list[Change] = []
    for path in ranked:
        if path in known:
            places = touched(known[path], parts.get(path)) if len(found) < MOST_FILES else frozenset()
            found.append(Change(path, known[path], places))
            continue
        data, language = contents.get(fresh[path]) if path in first else None, languages.language_of(path) or ""
        if data is None:
            later = path not in first  # if not, its contents are not there: the past may still speak of it
            found.append(Change(path, facts.Facts(language, parsed=False), frozenset() if later else None, later))
        elif not skips.by_contents(data, language):
            found.append(Change(path, extract.extract(data, language), None, new=True))
    return tuple(found)


def touched(known: facts.Facts, part: diffs.Part | None) -> frozenset[int] | None:
    """Places of the innermost definitions around what a diff changes in a file; None when it says nothing of it."""
    found: set[int] = set()
    for lines in part.lines if part else ():
        for number in lines:
            found.add(_innermost(known, [n for n, each in enumerate(known.definitions) if _holds(each, number)]))
    for one in part.inserted if part else ():
        around = [n for n, each in enumerate(known.definitions) if each.start < one.before <= each.end]
        if known.language == "python":  # nothing but the indent says where a body ends
            around += _continued(known.definitions, one)
        if one.leads:
            around += [n for n, each in enumerate(known.definitions) if each.start == one.before]
        found.add(_innermost(known, around))
    return frozenset(found) or None


def _holds(each: facts.Definition, number: int) -> bool:
    return each.start <= number <= each.end


def _innermost(known: facts.Facts, around: Iterable[int]) -> int:
    """The last to begin of some definitions, and of those the first to end; the place after all for none."""
    order = [(known.definitions[n].start, -known.definitions[n].end, n) for n in around]
    return max(order)[2] if order else len(known.definitions)


def _continued(definitions: Sequence[facts.Definition], one: diffs.Insertion) -> list[int]:
    """Definitions that end where lines are inserted, and whose bodies these lines continue."""
    found = []
    for place, each in enumerate(definitions):
        if each.end == one.before - 1:
            depth = sum(_holds(outer, each.start) and outer.end >= each.end for outer in definitions[:place])
            if one.indent > _STEP * depth:
                found.append(place)
    return found
