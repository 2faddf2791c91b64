"""The review of one head: a model's findings become a verdict by rule, and rules stand in where there is no model."""

import enum
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from domain import work
from domain.numerals import counted


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
        blocking=advice.blocking[:20],
        notes=advice.notes[:20],
    )


def by_rules(
    head_sha: str, files: Sequence[str], added: int, removed: int, warnings: Sequence[work.SafetyFinding]
) -> Review:
    """The stated fallback without a model: it reads the shape of the change, not its meaning, and says so."""
    notes = [f"{w.path}:{w.line} {w.rule}{': ' + w.hint if w.hint else ''}" for w in warnings[:20]]
    if files and not any("test" in path.lower() for path in files):
        notes.append("no test file is touched")
    blocking = ["the head changes no file"] if not files else []
    size = f"{counted(len(files), 'file')}, +{added} −{removed} lines"  # noqa: RUF001 - a real minus sign, shown to people
    return Review(
        head_sha=head_sha,
        verdict=Verdict.REJECT if blocking else Verdict.APPROVE,
        by="rules",
        summary=f"No model is configured to review; rules read {size}.",
        blocking=tuple(blocking),
        notes=tuple(notes),
    )
