"""One revision of a repository, ready to be asked: its words, its links, its past."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from codegraph import facts, index, link, past, project


class Revision:
    """Holds the indexes of one revision at a time; moving it to another touches only what differs."""

    def __init__(self) -> None:
        self.sources = index.Index()
        self.tests = index.Index()
        self.imports: Mapping[str, tuple[str, ...]] = {}
        self.importers: Mapping[str, tuple[str, ...]] = {}
        self.by_stem: Mapping[str, tuple[str, ...]] = {}
        self.past: past.Past | None = None
        self._links = link.Links()

    def move(
        self,
        sources: Mapping[str, facts.Facts],
        tests: Mapping[str, facts.Facts],
        known: past.Past | None,
        declared: project.Project,
    ) -> None:
        """Become the revision that holds exactly these files, has this past and these project files."""
        self.sources.update(sources)
        self.tests.update(tests)
        self.imports = self._links.update({**sources, **tests}, declared)
        importers: dict[str, list[str]] = defaultdict(list)
        for path, targets in self.imports.items():
            for target in targets:
                importers[target].append(path)
        self.importers = {path: tuple(found) for path, found in importers.items()}
        stems: dict[str, list[str]] = defaultdict(list)
        for path in sorted(sources):
            stems[PurePosixPath(path).name.split(".", 1)[0].lower()].append(path)
        self.by_stem = {stem: tuple(found) for stem, found in stems.items()}
        self.past = known
