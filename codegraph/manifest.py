"""What one revision holds: each file with its blob, its language and its part, and why the others are left out.

Made from the tree of the revision, or from an earlier manifest and the difference of two trees; both ways give the same
manifest. Facts of blobs that nobody has read yet are made on the way.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from codegraph import facts, languages, layout, objects, pool, reading, skips, store
from codegraph.reading import Progress as Progress

PROJECT_FILES: Final = frozenset(
    [
        *("go.mod", "go.work", "Cargo.toml", "package.json", "deno.json"),
        *("pyproject.toml", "setup.cfg", "composer.json"),
    ]
)
"""Names of files that say how modules are called and found."""

_PROJECT_ENDINGS: Final = (".csproj", ".gemspec")
_PASSING: Final = frozenset([reading.MISSING])  # reasons that may be gone at the next look


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """One file of a revision.

    Attributes:
        blob: Object id of its contents.
        language: Name of its language; empty when it has none that we know.
        role: `source`, `test` or `skipped`.
        skipped: Why it is left out; empty for the others.
        parsed: Whether a grammar could read it.
    """

    blob: str
    language: str
    role: str
    skipped: str = ""
    parsed: bool = False

    @property
    def key(self) -> store.Key:
        """What its facts are kept under."""
        return store.Key(self.blob, self.language)


@dataclasses.dataclass(frozen=True)
class Report:
    """Counts for people, each in order of names.

    Attributes:
        files: Indexed files of each language.
        parsed: Those that a grammar read.
        unparsed: Those of which only words are known.
        skipped: Files left out, for each reason.
        missing: Indexed files of each language whose grammar is not installed, or is of a release that does not fit.
    """

    files: dict[str, int]
    parsed: dict[str, int]
    unparsed: dict[str, int]
    skipped: dict[str, int]
    missing: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of one revision.

    Attributes:
        rev: Id of the commit.
        files: Every file by its path, in order of paths. A path that is no UTF-8 is written with escapes.
        project_files: Blobs of the files that say how modules are named and found (`go.mod`, `package.json`), by path.
        entries: What the tree says of every file, by its path.
        mirrors: Folders that only repeat others.
    """

    rev: str
    files: Mapping[str, File]
    project_files: Mapping[str, str]
    entries: Mapping[str, objects.Entry] = dataclasses.field(repr=False)
    mirrors: frozenset[str] = frozenset()

    @functools.cached_property
    def sources(self) -> tuple[str, ...]:
        """Paths of the sources, sorted."""
        return tuple(path for path, file in self.files.items() if file.role == "source")

    @functools.cached_property
    def tests(self) -> tuple[str, ...]:
        """Paths of the tests, sorted."""
        return tuple(path for path, file in self.files.items() if file.role == "test")

    @functools.cached_property
    def report(self) -> Report:
        """Counts of what was indexed, what was not, and why."""
        kept = [file for file in self.files.values() if not file.skipped]
        parsed = _count(file.language for file in kept if file.parsed)
        missing = {name for name in {file.language for file in kept} - parsed.keys() if not installed(name)}
        return Report(
            files=_count(file.language for file in kept),
            parsed=parsed,
            unparsed=_count(file.language for file in kept if not file.parsed),
            skipped=_count(file.skipped for file in self.files.values() if file.skipped),
            missing=_count(file.language for file in kept if file.language in missing),
        )


Taken = Callable[[str, File, facts.Facts], None]
"""Told the path, the file and its facts."""


@functools.cache
def installed(language: str) -> bool:
    """Whether the grammar of a language is there, and fits."""
    try:
        languages.grammar(language)
    except languages.MissingGrammarError:
        return False
    return True


def build(
    repo: objects.Repository,
    rev: str,
    kept: store.Store,
    *,
    workers: int = 2,
    seconds: float = pool.SECONDS,
    previous: Manifest | None = None,
    progress: Progress | None = None,
    extractor: str = pool.EXTRACTOR,
    taken: Taken | None = None,
) -> Manifest:
    """The manifest of a revision, with the facts of all its files in the store.

    Args:
        repo: Where its objects are.
        rev: Any name of a commit.
        kept: Where facts are kept.
        workers: Processes that read what is not known yet.
        seconds: What one file may take.
        previous: A manifest of another revision of the same repository; then only the difference is looked at.
        progress: Told how many of the unknown blobs are done, and how many there are.
        extractor: The function that reads a blob, as `module:name`.
        taken: Told of files while others are still being read, in the order of their paths, up to the first whose facts
            the store holds already.

    Raises:
        objects.Error: Git could not answer.
        pool.Error: No process can be started to read files.
    """
    sha = repo.resolve(rev)
    if kept.empty:
        pool.warm(workers, extractor)
    draft = _Draft.of(repo, sha, previous)
    lacking = {path: file for path, file in sorted(draft.new.items()) if not file.skipped}
    status = reading.fill(
        repo,
        kept,
        [file.key for file in lacking.values()],
        workers=workers,
        seconds=seconds,
        progress=progress,
        extractor=extractor,
        taken=_InOrder(lacking, taken).take if taken else None,
    )
    files = draft.known | {path: _judged(file, status) for path, file in draft.new.items()}
    return Manifest(
        sha,
        {path: files[path] for path in sorted(files)},
        {path: entry.blob for path, entry in sorted(draft.entries.items()) if _is_project_file(path, entry)},
        draft.entries,
        draft.mirrors,
    )


def read(
    repo: objects.Repository, kept: store.Store, keys: Iterable[store.Key], *, workers: int = 2
) -> dict[store.Key, facts.Facts]:
    """Facts of keys, read again for those that the store has lost since.

    Raises:
        objects.Error: Git could not answer.
        pool.Error: No process can be started to read files.
    """
    wanted = set(keys)
    found = kept.facts(wanted)
    if lost := wanted - found.keys():
        reading.fill(repo, kept, sorted(lost), workers=workers)
        found |= kept.facts(lost)
    return found


class _InOrder:
    """Passes files on in the order of their paths, whatever the order in which they come."""

    def __init__(self, files: Mapping[str, File], taken: Taken) -> None:
        self._waiting = collections.deque(files.items())
        self._found: dict[store.Key, facts.Facts | None] = {}
        self._taken = taken

    def take(self, key: store.Key, known: facts.Facts | None) -> None:
        self._found[key] = known
        while self._waiting and self._waiting[0][1].key in self._found:
            path, file = self._waiting.popleft()
            if (held := self._found[file.key]) is not None:
                self._taken(path, file, held)


@dataclasses.dataclass(frozen=True, slots=True)
class _Draft:
    """A manifest whose new files have not been read."""

    entries: dict[str, objects.Entry]
    mirrors: frozenset[str]
    known: dict[str, File]
    new: dict[str, File]

    @classmethod
    def of(cls, repo: objects.Repository, sha: str, previous: Manifest | None) -> "_Draft":
        if previous is not None:
            with contextlib.suppress(objects.Error):  # its commit may be gone; the tree itself is as good
                return cls._moved(repo, sha, previous)
        entries = {objects.readable(entry.path): entry for entry in repo.ls_tree(sha)}
        mirrors = skips.mirrored(entries)
        return cls(entries, mirrors, {}, {path: _file(path, entry, mirrors) for path, entry in entries.items()})

    @classmethod
    def _moved(cls, repo: objects.Repository, sha: str, previous: Manifest) -> "_Draft":
        changed, gone = repo.diff_tree(previous.rev, sha)
        entries, known = dict(previous.entries), dict(previous.files)
        for path in map(objects.readable, gone):
            entries.pop(path, None)
            known.pop(path, None)
        fresh = {objects.readable(entry.path): entry for entry in changed}
        same_paths = not gone and all(path in entries for path in fresh)
        entries |= fresh
        mirrors = previous.mirrors if same_paths else skips.mirrored(entries)
        again = {path for path, file in known.items() if file.skipped in _PASSING} | fresh.keys()
        if mirrors != previous.mirrors:
            again |= {path for path in known if path.startswith(tuple(mirrors ^ previous.mirrors))}
        for path in again:
            known.pop(path, None)
        return cls(entries, mirrors, known, {path: _file(path, entries[path], mirrors) for path in sorted(again)})


def _file(path: str, entry: objects.Entry, mirrors: frozenset[str]) -> File:
    language = languages.language_of(path) or ""
    reason = _reason(path, entry, language, mirrors)
    role = "skipped" if reason else "test" if skips.is_test(path) else "source"
    return File(entry.blob, language, role, reason)


def _reason(path: str, entry: objects.Entry, language: str, mirrors: frozenset[str]) -> str:
    if entry.mode == objects.SUBMODULE:
        return "submodule"
    if entry.mode == objects.SYMLINK:
        return "symlink"
    if not language:
        return "no language"
    if path != entry.path:
        return "path is no UTF-8"
    if reason := skips.by_path(path):
        return reason
    if mirrors and path.startswith(tuple(mirrors)):
        return "mirrored"
    return "large" if entry.size > objects.LARGE else ""


def _judged(file: File, status: Mapping[store.Key, store.Row]) -> File:
    if file.skipped:
        return file
    row = status[file.key]
    if row.skipped:
        return dataclasses.replace(file, role="skipped", skipped=row.skipped)
    return dataclasses.replace(file, parsed=row.parsed)


def _is_project_file(path: str, entry: objects.Entry) -> bool:
    name = path.rpartition("/")[2]
    wanted = name in PROJECT_FILES or name.endswith(_PROJECT_ENDINGS) or layout.is_configuration(name)
    return wanted and path == entry.path and entry.mode not in objects.LINKS and skips.by_path(path) != "vendored"


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(names).items()))
