"""A unified diff that somebody hands in, read as changes of a revision: work that is in no commit yet.

Nothing that the diff names is opened: old files are those of the revision, new ones are what the diff adds.
"""

from codegraph import changes, diffs, extract, languages, skips
from codegraph.revision import Revision


def read(diff: bytes, revision: Revision) -> tuple[changes.Change, ...]:
    """The changes that a unified diff makes to a revision, those with the most changed lines first. Files that the
    revision does not index, and that the diff does not make, are left out; text around the diff is passed over."""
    known = {**revision.sources.facts, **revision.tests.facts}
    found: list[tuple[int, changes.Change]] = []
    for part in diffs.parts(diff):
        held = known.get(part.path)
        if held is not None:
            touched = changes.touched(held, part.lines)
            found.append((sum(map(len, part.lines)), changes.Change(part.path, held, touched)))
        elif part.new and not skips.by_path(part.path) and (language := languages.language_of(part.path)):
            made = extract.extract(b"\n".join(part.added) + b"\n", language)
            found.append((len(part.added), changes.Change(part.path, made, None, new=True)))
    found.sort(key=lambda each: (-each[0], each[1].path))
    return tuple(change for _, change in found[: changes.MOST_FILES])
