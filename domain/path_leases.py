"""Which runs of a repository may work at once: those that will probably not change a file in common.

A run has the lease of the files that it will probably change for as long as it has its place. Whether two runs collide
is a forecast of the code graph: asked once for each pair, and once more when one of them waits and the other one has
pushed its work. A forecast that is missing keeps nobody waiting.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain import refs

MOST_IN_FLIGHT: Final = 20
"""Runs in flight that one candidate is compared with, those that were admitted last."""
MOST_HELD_BACK: Final = 10
"""Runs that may be passed by those behind them in line; while more are held back, nobody passes."""
MOST_FILES: Final = 5
"""Files that are kept for a pair."""
MOST_EXPLAINED: Final = 5
"""Pairs of one run in line whose files are kept, the likeliest: a repository's state has to fit into one message."""
MOST_NAMED: Final = 3
"""Files of a pair that a sentence names."""
MOST_COMPARED: Final = 200
"""Runs that one in line is known to have been compared with; more than are ever asked about at once."""
MOST_URGENT: Final = 1
"""Priority of runs that wait for nobody's files."""
NEVER: Final = 1.0
"""The limit of a run that waits for nobody's files."""


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Pair(Model):
    """How a candidate's work stands to that of another run."""

    run: str
    """Workflow id of the other one."""
    probability: float = 0
    """How likely both change at least one file in common, 0 to 1."""
    files: tuple[str, ...] = ()
    """Those most likely changed by both, cleaned and cut for people."""
    pushed: bool = False
    """It is about what the other one has pushed, not about what its issue asks for."""
    missing: str = ""
    """Why nothing is known of this pair, as a clause; empty: it was compared."""

    def words(self, quote: str = "") -> str:
        """Completes "waits for …". `quote` goes around names of files, which strangers choose."""
        what = ", ".join(f"{quote}{path}{quote}" for path in self.files[:MOST_NAMED]) or "the same files"
        return f"{name_of(self.run)}, which is likely ({round(100 * self.probability)} %) to change {what} too"


class Question(Model):
    """Will the work of `run` collide with that of the others?"""

    repo: refs.Repository
    run: str
    others: tuple[str, ...]
    base_branch: str


class Forecast(Model):
    """The answer. `missing` is set when nothing is known of any pair."""

    pairs: tuple[Pair, ...] = ()
    missing: str = ""

    def gaps(self) -> str:
        """Why not every pair is known; empty when every one is."""
        return self.missing or next((f"{name_of(p.run)}: {p.missing}" for p in self.pairs if p.missing), "")


class Wait(Model):
    """What a run in line is told: for whom it waits. Empty: for nobody's files any more."""

    behind: tuple[Pair, ...] = ()


class Outlook(Model):
    """What is known of one run in line."""

    compared: tuple[str, ...] = ()
    """Runs that it was compared with, also where the forecast was missing."""
    collides: tuple[Pair, ...] = ()
    missing: str = ""
    again: tuple[str, ...] = ()
    """Those that it is compared with a second time, and the last, since they have pushed something meanwhile."""
    told: tuple[str, ...] | None = ()
    """Runs for which it knows that it waits. None: nobody can tell, so it is told again."""

    def with_answer(self, question: Question, forecast: Forecast, limit: float) -> "Outlook":
        """`limit`: how likely a file in common may be, for the run not to wait."""
        known = [p for p in forecast.pairs if p.run in question.others and p.probability > limit]
        collides = sorted((*self.collides, *known), key=lambda pair: (-pair.probability, pair.run))
        rest = (pair.model_copy(update={"files": ()}) for pair in collides[MOST_EXPLAINED:])
        return self.model_copy(
            update={
                "compared": (*self.compared, *question.others)[-MOST_COMPARED:],
                "collides": (*collides[:MOST_EXPLAINED], *rest),
                "missing": self.missing or forecast.gaps(),
            }
        )

    def asked_again(self, leases: bool) -> "Outlook":
        """Its run asks once more, perhaps from another execution, which was told nothing. `leases`: it did wait for
        files; others were never told anything, and those of before path leases would not understand it."""
        return self.model_copy(update={"told": None}) if leases else self

    def cleared(self) -> frozenset[str]:
        """Runs that it was compared with, and does not collide with as far as is known."""
        return frozenset(self.compared) - {pair.run for pair in self.collides}

    def passed_by(self, run: str) -> "Outlook":
        """After a run that was compared with it has got a place before it."""
        return self.model_copy(update={"compared": (*self._forgetting([run]).compared, run)[-MOST_COMPARED:]})

    def without(self, run: str) -> "Outlook":
        """After a run's end."""
        return self._forgetting([run]).model_copy(update={"again": tuple(each for each in self.again if each != run)})

    def after_push(self, runs: Sequence[str]) -> "Outlook":
        """What was foretold by the texts of `runs` is no longer the best that can be known."""
        stale = [p.run for p in self.collides if p.run in runs and not p.pushed and p.run not in self.again]
        return self._forgetting(stale).model_copy(update={"again": (*self.again, *stale)})

    def _forgetting(self, runs: Sequence[str]) -> "Outlook":
        return self.model_copy(
            update={
                "compared": tuple(each for each in self.compared if each not in runs),
                "collides": tuple(pair for pair in self.collides if pair.run not in runs),
            }
        )

    def behind(self, runs: Sequence[str], limit: float) -> tuple[Pair, ...]:
        """For whom of `runs` it waits, the likeliest first. `limit` is asked again, since a person may lift it."""
        found = [pair for pair in self.collides if pair.run in runs and pair.probability > limit]
        return tuple(sorted(found, key=lambda pair: (-pair.probability, pair.run)))


def name_of(workflow_id: str) -> str:
    """What people call the run."""
    try:
        return str(refs.Issue.from_workflow_id(workflow_id))
    except ValueError:
        return workflow_id


def sentence(behind: Sequence[Pair], quote: str = "") -> str:
    """Completes "waits for …"; `behind` is not empty."""
    more = f"; and for {len(behind) - 1} more" if len(behind) > 1 else ""
    return f"{behind[0].words(quote)}{more}"


def card(behind: Sequence[Pair], waiting: str) -> str:
    """The same for Markdown, with what ends the wait of the run with that name."""
    return f"waits for {sentence(behind, '`')}: until that ends, or `fettle release {waiting}`"
