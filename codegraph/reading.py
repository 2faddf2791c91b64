"""Reads the blobs that nobody has read yet, and keeps what was found in them."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from codegraph import facts, objects, pool, skips, store

MISSING: Final = "not in this clone"
"""Why a blob is left out that the repository lacks: the one reason that is not remembered."""

_WRITE: Final = 200
Progress = Callable[[int, int], None]
"""Told how many blobs are done, and how many there are."""
Taken = Callable[[store.Key, facts.Facts | None], None]
"""Told what is known of a blob as soon as it was read; None for one that is left out."""


def fill(
    repo: objects.Repository,
    kept: store.Store,
    keys: Iterable[store.Key],
    *,
    workers: int = 2,
    seconds: float = pool.SECONDS,
    progress: Progress | None = None,
    extractor: str = pool.EXTRACTOR,
    taken: Taken | None = None,
) -> dict[store.Key, store.Row]:
    """What is known of each key, without its facts; those that the store lacked are read now.

    Raises:
        objects.Error: Git could not answer.
        pool.Error: No process can be started to read files.
    """
    wanted = dict.fromkeys(keys)
    status = kept.known(wanted)
    lacking = _by_language([key for key in wanted if key not in status])
    if not lacking:
        return status
    found = _Found(kept, len(lacking), progress, taken)
    refused: dict[store.Key, str] = {}
    tasks = _tasks(repo, lacking, refused)
    try:
        for result in pool.run(tasks, workers=min(workers, len(lacking)), seconds=seconds, extractor=extractor):
            found.note(result.key, store.Row("", result.parsed, result.payload))
            found.refuse(refused)
        found.refuse(refused)
    finally:
        found.write()
    return status | found.status


def _by_language(keys: list[store.Key]) -> list[store.Key]:
    """The same keys, the rarest language first and otherwise in the order given: one process then reads all of a rare
    language, so that only one has to load its grammar."""
    counts = collections.Counter(key.language for key in keys)
    return sorted(keys, key=lambda key: (counts[key.language], key.language))


class _Found:
    """What was read so far, written in batches."""

    def __init__(self, kept: store.Store, total: int, progress: Progress | None, taken: Taken | None) -> None:
        self.status: dict[store.Key, store.Row] = {}
        self._kept, self._total, self._progress, self._taken = kept, total, progress, taken
        self._rows: dict[store.Key, store.Row] = {}

    def note(self, key: store.Key, row: store.Row) -> None:
        self.status[key] = row._replace(payload=b"")
        if row.skipped != MISSING:
            self._rows[key] = row
        if len(self._rows) >= _WRITE:
            self.write()
        if self._progress is not None:
            self._progress(len(self.status), self._total)
        if self._taken is not None:
            self._taken(key, None if row.skipped else facts.decode(row.payload))

    def refuse(self, reasons: dict[store.Key, str]) -> None:
        """Take what will not be read out of `reasons`, to which others may be adding meanwhile."""
        while reasons:
            key, reason = reasons.popitem()
            self.note(key, store.Row(reason, False, b""))

    def write(self) -> None:
        self._kept.add(self._rows)
        self._rows = {}


def _tasks(repo: objects.Repository, keys: Iterable[store.Key], refused: dict[store.Key, str]) -> Iterator[pool.Task]:
    """Blobs to read; those that will not be read are put into `refused`, with the reason."""
    by_blob: Mapping[str, list[store.Key]] = collections.defaultdict(list)
    for key in keys:
        by_blob[key.blob].append(key)
    unread = []
    for blob, data in repo.read(by_blob):
        if data is None:
            unread.append(blob)
            continue
        for key in by_blob[blob]:
            if reason := skips.by_contents(data, key.language):
                refused[key] = reason
            else:
                yield key, data
    sizes = repo.sizes(unread)
    for blob in unread:
        for key in by_blob[blob]:
            refused[key] = "large" if sizes.get(blob, 0) > objects.LARGE else MISSING
