"""What a difference of two revisions touches: files, and in them the definitions whose lines it changed."""

import dataclasses
from collections.abc import Iterable

from codegraph import diffs, extract, facts, languages, objects, skips
from codegraph.revision import Revision

MOST_FILES = 60
"""Changed files of one difference that are looked at; those with the most changed lines come first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One changed file.

    Attributes:
        path: Its path; the old one where it was deleted.
        known: Its facts: at the base, or at the head for a file that is new there.
        definitions: Places of the changed definitions in the facts, and `len(known.definitions)` for lines outside of
            every one; None: all of the file.
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
    """The changes from `base`, at which `revision` stands, to `head`. Files of no known language are left out.

    Raises:
        objects.Error: A revision does not exist, or git could not answer.
    """
    entries, gone = repository.diff_tree(base, head)
    lines = {part.path: part.lines for part in diffs.parts(repository.changed_lines(base, head))}
    fresh = {entry.path: entry.blob for entry in entries if languages.language_of(entry.path)}
    known = {**revision.sources.facts, **revision.tests.facts}
    unknown = {path: blob for path, blob in fresh.items() if path not in known and not skips.by_path(path)}
    contents = dict(repository.read(sorted(set(unknown.values()))))
    found = [
        Change(path, known[path], touched(known[path], lines.get(path, ())))
        for path in sorted({*fresh, *gone})
        if path in known
    ]
    for path, blob in sorted(unknown.items()):
        data = contents.get(blob)
        if data is not None:
            found.append(Change(path, extract.extract(data, languages.language_of(path) or ""), None, new=True))
    found.sort(key=lambda each: (-sum(len(part) for part in lines.get(each.path, ())), each.path))
    return tuple(found[:MOST_FILES])


def touched(known: facts.Facts, lines: Iterable[range]) -> frozenset[int] | None:
    """Places of the innermost definitions around some lines of a file; None when no lines are known."""
    found: set[int] = set()
    for part in lines:
        for number in part:
            around = [
                (each.start, -each.end, place)
                for place, each in enumerate(known.definitions)
                if each.start <= number <= each.end
            ]
            found.add(max(around)[2] if around else len(known.definitions))
    return frozenset(found) or None
