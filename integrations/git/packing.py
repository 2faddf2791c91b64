"""Keeps a mirror's objects in few packs, and its disk free of what killed commands of git have left half written.

Nothing is dropped, also what no ref names: the clones of runs borrow these objects.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from domain import errors
from integrations.git import runner

_MOST_PACKS: Final = 50
_MOST_LOOSE: Final = 27
"""Of one folder of 256: git's own measure for a repository that should be packed."""
_SECONDS: Final = 60.0
"""Packing is part of a fetch, and the step that fetches has five minutes for everything."""
_AGAIN_SECONDS: Final = 3600.0
"""A mirror that could not be packed is not held up by it at every fetch."""
_HALF_WRITTEN: Final = ("tmp_*", ".tmp-*")
"""What git calls a pack, and what belongs to one, until it is whole."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass
class Packing:
    """Of one mirror; whoever calls holds the mirror's lock."""

    git: runner.Runner
    git_dir: Path
    _failed_at: float | None = field(default=None, init=False)
    """By the monotonic clock."""

    async def tidy(self) -> None:
        """Pack what fetches and imports have left, once it is much. A mirror that cannot be packed now is as good
        without, and is packed another time."""
        now = time.monotonic()
        if self._failed_at is not None and now - self._failed_at < _AGAIN_SECONDS:
            return
        if not await asyncio.to_thread(self._untidy):
            return
        try:
            await self.git.run(
                *("repack", "-d", "--geometric=2", "--quiet"), at=runner.Place(self.git_dir), timeout_seconds=_SECONDS
            )
        except errors.GitFailed as failed:
            self._failed_at = now
            _log.warning("a mirror was not packed", mirror=str(self.git_dir), because=str(failed))
        else:
            self._failed_at = None

    def sweep(self) -> None:
        """Remove the halves of packs that a killed git has left: each may be as large as the repository."""
        oldest = time.time() - runner.LEFT_BEHIND_SECONDS
        for path in (path for name in _HALF_WRITTEN for path in (self.git_dir / "objects" / "pack").glob(name)):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _untidy(self) -> bool:
        """Whether there are so many packs and loose objects that every look for an object takes longer."""
        objects = self.git_dir / "objects"
        packs = sum(1 for _ in (objects / "pack").glob("pack-*.pack"))
        loose = sum(1 for _ in (objects / "17").glob("*"))  # one of 256 folders stands for all
        return packs > _MOST_PACKS or loose > _MOST_LOOSE
