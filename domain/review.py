"""The review of one head: a model's findings become a verdict by rule, and rules stand in where there is no model."""

import enum
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import work
from domain.numerals import counted

_NOTED: Final = 20
"""So many patterns, and remarks of a model, are named."""


class Verdict(enum.StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class Advice(BaseModel):
    """What the reviewing model answers. `blocking` findings reject, everything else is a note."""

    model_config = ConfigDict(extra="ignore")

    summary: str = Field(default="", max_length=4000)
    blocking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Review(BaseModel):
    model_config = ConfigDict(extra="ignore")

    head_sha: str
    verdict: Verdict
    by: str
    summary: str = ""
    blocking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self, limit: int = 4000) -> str:
        lines = [self.summary] if self.summary else []
        lines += [f"- blocking: {item}" for item in self.blocking]
        lines += [f"- note: {item}" for item in self.notes]
        return "\n".join(lines)[:limit]


def from_advice(head_sha: str, advice: Advice, *, by: str) -> Review:
    """The verdict is ours: a review rejects exactly when it names a blocking finding."""
    return Review(
        head_sha=head_sha,
        verdict=Verdict.REJECT if advice.blocking else Verdict.APPROVE,
        by=by,
        summary=advice.summary,
        blocking=_first(advice.blocking),
        notes=_first(advice.notes),
    )


def _first(said: Sequence[str]) -> tuple[str, ...]:
    more = len(said) - _NOTED
    return (*said[:_NOTED], *([f"and {more} more"] if more > 0 else []))


def by_rules(
    head_sha: str,
    files: Sequence[str],
    added: int,
    removed: int,
    warnings: Sequence[work.SafetyFinding],
    *,
    file_count: int = 0,
) -> Review:
    """The stated fallback without a model: it reads the shape of the change, not its meaning, and says so.

    Args:
        file_count: How many files there are, when `files` names only the first of them.
    """
    unnamed = max(0, file_count - len(files))
    notes = [f"{w.path}:{w.line} {w.rule}{': ' + w.hint if w.hint else ''}" for w in warnings[:_NOTED]]
    if len(warnings) > _NOTED:
        notes.append(f"more patterns than these {_NOTED} are worth a look")
    if files and not any("test" in path.lower() for path in files):
        where = f"the first {counted(len(files), 'file')} touch no test" if unnamed else "no test file is touched"
        notes.append(where)
    blocking = ["the head changes no file"] if not files else []
    total = f"the names of {len(files)} of {counted(file_count, 'file')}" if unnamed else counted(len(files), "file")
    size = f"{total}, +{added} −{removed} lines"  # noqa: RUF001 - a real minus sign, shown to people
    return Review(
        head_sha=head_sha,
        verdict=Verdict.REJECT if blocking else Verdict.APPROVE,
        by="rules",
        summary=f"No model is configured to review; rules read {size}.",
        blocking=tuple(blocking),
        notes=tuple(notes),
    )
