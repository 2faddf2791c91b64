"""When a turn is kept: soon after each answer, so that a host that is lost takes seconds of work with it, and so rarely
that keeping takes a twentieth of a processor and asks the forge a fifth of the time.

A fixed interval is wrong for both: a model's answer that came a moment before the kill is asked and paid for again, and
a large repository is pushed while its agent only thinks.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from activities import turn_checkpoint, turn_wip
from domain import agent, errors
from sandbox import process

KEEP_SECONDS: Final = 120.0
"""What the push of a checkpoint may take while the agent works on."""
AT_STOP_SECONDS: Final = 10.0
"""A worker that is told to stop is killed some seconds later; what was kept before then stays."""
SETTLE_SECONDS: Final = 1.0
"""From an answer to its checkpoint: a CLI prints before it writes its transcript, and a quick tool's result follows."""
FLOOR_SECONDS: Final = 2.0
"""Least rest between two checkpoints, however cheap they are."""
_REST_PER_BUSY_SECOND: Final = 19.0
"""Of a processor, which the agent could have used: keeping then has one second of twenty."""
_REST_PER_SECOND: Final = 4.0
"""Of waiting, mostly for the forge, while the agent works on. A push of 2 s comes six times a minute, which is what
GitHub recommends as the most for a repository; a forge that is slow with its work gets less of it."""
_NEWS: Final = frozenset(
    {agent.EventKind.TEXT, agent.EventKind.TOOL, agent.EventKind.TOOL_RESULT, agent.EventKind.RESULT}
)
_log = structlog.stdlib.get_logger(__name__)


class Pace:
    """The rule, over a clock that the caller reads; seconds.

    Args:
        most: Longest rest between two looks at whether something changed, and between two checkpoints.
    """

    def __init__(self, most: float, now: float) -> None:
        self._most = most
        self._not_before = now
        self._latest = now + most
        self._began = (now, 0.0)
        self.news_since: float | None = None
        """When the oldest answer came that no checkpoint has."""

    def news(self, now: float) -> None:
        """An answer came."""
        if self.news_since is None:
            self.news_since = now

    def begin(self, now: float, busy: float) -> None:
        """A checkpoint begins: it holds what came before now. `busy`: processor time so far, the children's too."""
        self._began = (now, busy)
        self.news_since = None

    def end(self, now: float, busy: float) -> None:
        """It has ended. What else this process and its children have computed meanwhile is not told apart; no more is
        counted than one processor can do."""
        began, busy_before = self._began
        took = now - began
        rest = max(FLOOR_SECONDS, took * _REST_PER_SECOND, min(busy - busy_before, took) * _REST_PER_BUSY_SECOND)
        self._not_before = now + min(rest, self._most)
        self._latest = now + self._most

    def looked(self, now: float) -> None:
        """There was nothing to keep."""
        self._latest = now + self._most

    @property
    def due(self) -> float:
        """When to look next."""
        if self.news_since is None:
            return self._latest
        return min(max(self.news_since + SETTLE_SECONDS, self._not_before), self._latest)


class Keeping:
    """The checkpoints of one attempt.

    Args:
        keeper: Makes them; None: nothing is kept.
        progress: The attempt's own, which it goes on changing.
        most_seconds: See `Pace`.
        after: Called after each checkpoint.
    """

    def __init__(
        self,
        keeper: turn_checkpoint.Keeper | None,
        progress: agent.Progress,
        most_seconds: float,
        after: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self._progress = progress
        self._after = after
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._pace = Pace(most_seconds, self._clock())
        self._heard = asyncio.Event()
        self.kept = turn_wip.Kept()
        """Where the work is, as of the newest checkpoint."""
        self.lost: asyncio.Future[errors.AgentError] = loop.create_future()
        """Done with the reason when another host has the run."""

    def saw(self, event: agent.Event) -> None:
        """Take in what the agent printed."""
        if event.kind in _NEWS:
            self._pace.news(self._clock())
            self._heard.set()

    async def keep(self, *, finished: bool = False, seconds: float = KEEP_SECONDS) -> None:
        """Keep the turn as it is now. Any trouble but one is told, and does not end the turn.

        Args:
            finished: The turn is at its end.
            seconds: What the push of the work may take.

        Raises:
            LeaseLost: another host has the run.
        """
        if self._keeper is None:
            return
        self._pace.begin(self._clock(), _busy())
        known = self.kept.why_not
        try:
            self.kept = await self._keeper.keep(self._progress, finished=finished, seconds=seconds)
        except (errors.FettleError, OSError) as failure:
            if isinstance(failure, errors.LeaseLost):
                raise
            self.kept = turn_wip.Kept(self.kept.sha, str(failure))
        finally:
            self._pace.end(self._clock(), _busy())
        if self.kept.why_not and self.kept.why_not != known:
            _log.warning("work in progress stays on this host", run=self._keeper.run, because=self.kept.why_not)
        self._after()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Keep the turn again and again while the context lasts."""
        if self._keeper is None:
            yield
            return
        keeping = asyncio.create_task(self._keep_on(self._keeper))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_on(self, keeper: turn_checkpoint.Keeper) -> None:
        while True:
            await self._until_due()
            if not await self._may_have_changed(keeper):
                self._pace.looked(self._clock())
                continue
            try:
                await process.uncancelled(self.keep())
            except errors.LeaseLost as lost:
                if not self.lost.done():
                    self.lost.set_result(lost)
                return

    async def _until_due(self) -> None:
        while (left := self._pace.due - self._clock()) > 0:
            self._heard.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._heard.wait()

    async def _may_have_changed(self, keeper: turn_checkpoint.Keeper) -> bool:
        """A command that runs writes files without a word, and what could not be kept is tried again."""
        if self._pace.news_since is not None or self._progress.tool or self.kept.why_not:
            return True
        return await keeper.has_news(self._progress.session)


def _busy() -> float:
    """Processor seconds of this process and of the children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
