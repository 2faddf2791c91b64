"""A unified diff that somebody hands in, read as changes of a revision: work that is in no commit yet.

Nothing that the diff names is opened: old files are those of the revision, new ones are what the diff adds.
"""

from codegraph import changes, diffs, extract, facts, languages, skips
from codegraph.revision import Revision


def read(diff: bytes, revision: Revision) -> tuple[changes.Change, ...]:
    """The changes that a unified diff makes to a revision, those with the most changed lines first. Files that the
    revision does not index, and that the diff does not make, are left out; text around the diff is passed over. Beyond
    the first `changes.MOST_FILES` nothing is known but the path."""
    known = {**revision.sources.facts, **revision.tests.facts}
    found: list[tuple[int, diffs.Part, str]] = []
    for part in diffs.parts(diff):
        language = languages.language_of(part.path) or ""
        if part.path in known or (part.new and language and not _left_out(part, language)):
            found.append((part.size, part, language))
    found.sort(key=lambda each: (-each[0], each[1].path))
    return tuple(
        _change(part, language, known.get(part.path), looked_into=place < changes.MOST_FILES)
        for place, (_, part, language) in enumerate(found)
    )


def _left_out(part: diffs.Part, language: str) -> bool:
    return bool(skips.by_path(part.path) or skips.by_contents(b"\n".join(part.added), language))


def _change(part: diffs.Part, language: str, held: facts.Facts | None, *, looked_into: bool) -> changes.Change:
    if held is not None:
        return changes.Change(part.path, held, changes.touched(held, part) if looked_into else frozenset())
    if not looked_into:
        return changes.Change(part.path, facts.Facts(language, parsed=False), frozenset(), new=True)
    made = extract.extract(b"\n".join(part.added) + b"\n", language)
    return changes.Change(part.path, made, None, new=True)
