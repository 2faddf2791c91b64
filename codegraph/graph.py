"""A repository that can be asked: it stands at one revision, and moving it to another touches only what differs."""

import concurrent.futures
import pathlib
from collections.abc import Sequence

from codegraph import facts, history, manifest, objects, past, project, store
from codegraph.revision import Revision


class Graph:
    """One repository with its store.

    Attributes:
        repository: Where the objects are.
        manifest: What the revision holds; None before the first `at`, and after one that broke off halfway.
        history: What is known of the commits before it.
        revision: Its words, links and past, ready to be asked.
    """

    def __init__(self, repository: objects.Repository, kept: store.Store, *, workers: int = 2) -> None:
        self.repository = repository
        self.manifest: manifest.Manifest | None = None
        self.history = history.History(())
        self.revision = Revision()
        self._kept = kept
        self._workers = workers
        self._messages = past.Messages()
        self._facts: dict[store.Key, facts.Facts] = {}
        self._project = project.Project()

    @classmethod
    def open(cls, path: pathlib.Path, *, folder: pathlib.Path | None = None, workers: int = 2) -> "Graph":
        """The graph of a repository, with its store in the repository's own git directory unless a folder is given.

        Raises:
            objects.Error: There is no repository.
        """
        repository = objects.Repository(path)
        kept = store.Store(folder) if folder else store.Store.of(repository.common_dir)
        return cls(repository, kept, workers=workers)

    def at(self, rev: str, *, progress: manifest.Progress | None = None) -> Revision:
        """Stand at a revision, reading what nobody has read yet.

        Raises:
            objects.Error: The revision does not exist, or git could not answer.
        """
        sha = self.repository.resolve(rev)
        if self.manifest is not None and sha == self.manifest.rev:
            return self.revision
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            remembered = beside.submit(self._remember, sha)
            made = manifest.build(
                self.repository,
                sha,
                self._kept,
                workers=self._workers,
                previous=self.manifest,
                progress=progress,
                taken=self._take,
            )
            self._stand(made, remembered)
        return self.revision

    def _remember(self, sha: str) -> tuple[history.History, past.Past | None]:
        """The past, and what it says: that only while nobody can be asking for another revision, whose messages would
        be exchanged even if this one is never reached."""
        found = history.load(self.repository, sha, self._kept)
        return found, past.Past(found, self._messages) if self.manifest is None else None

    def _take(self, path: str, file: manifest.File, known: facts.Facts) -> None:
        """Take the facts of a file; its words too if there are none yet that somebody may be asking for."""
        self._facts[file.key] = known
        if self.manifest is None:
            (self.revision.tests if file.role == "test" else self.revision.sources).add(path, known)

    def _stand(
        self, made: manifest.Manifest, remembered: "concurrent.futures.Future[tuple[history.History, past.Past | None]]"
    ) -> None:
        keys = {path: made.files[path].key for path in (*made.sources, *made.tests)}
        wanted = set(keys.values())
        for key in self._facts.keys() - wanted:
            del self._facts[key]
        self._facts |= manifest.read(self.repository, self._kept, wanted - self._facts.keys(), workers=self._workers)
        declared = self._project
        if self.manifest is None or made.project_files != self.manifest.project_files:
            contents = dict(self.repository.read(sorted(set(made.project_files.values()))))
            declared = project.read({path: contents.get(blob) or b"" for path, blob in made.project_files.items()})
        found, known = remembered.result()
        self.manifest = None  # who breaks this off leaves half of two revisions, at which nobody stands
        known = known or past.Past(found, self._messages)
        self.revision.move(self._held(made.sources, keys), self._held(made.tests, keys), known, declared)
        self.manifest, self.history, self._project = made, found, declared

    def _held(self, paths: Sequence[str], keys: dict[str, store.Key]) -> dict[str, facts.Facts]:
        return {path: self._facts[keys[path]] for path in paths if keys[path] in self._facts}
