"""CI on one commit: from the checks a forge reports to one verdict."""

import enum
import fnmatch
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from domain import forge, refs


class Result(enum.StrEnum):
    PENDING = "pending"
    GREEN = "green"
    RED = "red"
    NONE = "none"
    """No check was registered in the time given: nothing vouches for this commit."""
    SILENT = "silent"
    """Checks are expected but did not all report before the deadline."""


class Verdict(BaseModel):
    """CI's word on exactly `head_sha`."""

    model_config = ConfigDict(extra="ignore")

    head_sha: str
    result: Result
    failed: tuple[str, ...] = ()
    waiting_for: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    url: str = ""
    note: str = ""

    def sentence(self) -> str:
        short = self.head_sha[:9]
        match self.result:
            case Result.GREEN:
                return f"CI is green on {short}: {', '.join(self.passed)}"
            case Result.RED:
                return f"CI is red on {short}: {', '.join(self.failed)} failed"
            case Result.NONE:
                return f"no CI check is configured for {short}: nothing has tested this commit"
            case Result.SILENT:
                return f"CI never reported on {short}: {self.note or 'no result'}"
            case Result.PENDING:
                return f"CI is running on {short}: waiting for {', '.join(self.waiting_for) or 'a first check'}"


class PollRequest(BaseModel):
    """What to ask about one commit. `since` is when it was pushed: registration time counts from there."""

    model_config = ConfigDict(extra="ignore")

    repo: refs.Repository
    sha: str
    base_branch: str
    ignored: tuple[str, ...] = ()
    registration_seconds: float = 120
    since: datetime | None = None


def is_ignored(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def evaluate(
    sha: str,
    found: Sequence[forge.Check],
    required: Sequence[forge.RequiredCheck],
    *,
    ignored: Iterable[str],
    age: timedelta,
    registration: timedelta,
) -> Verdict:
    """Green means: every required context has passed on this commit (from the app that protection names, when it names
    one), and no other check that counts is pending or has failed. Seeing no failure is not enough.

    A required check is never ignored. A failure is final even while others run, so that a repair starts at once.
    """
    patterns = tuple(ignored)
    needed = {r.name for r in required}
    counting = [c for c in found if c.name in needed or not is_ignored(c.name, patterns)]
    missing = [
        r.name
        for r in required
        if not any(c.name == r.name and (r.app_id is None or c.app_id == r.app_id) for c in counting)
    ]
    failed = [c for c in counting if not c.state.passes and c.state is not forge.CheckState.PENDING]
    pending = [c.name for c in counting if c.state is forge.CheckState.PENDING]
    passed = tuple(dict.fromkeys(c.name for c in counting if c.state.passes))
    waiting = tuple(dict.fromkeys([*missing, *pending]))
    if failed:
        names = tuple(dict.fromkeys(c.name for c in failed))
        return Verdict(head_sha=sha, result=Result.RED, failed=names, passed=passed, url=failed[0].url)
    if waiting:
        return Verdict(head_sha=sha, result=Result.PENDING, waiting_for=waiting, passed=passed)
    if not counting:
        result = Result.NONE if age >= registration else Result.PENDING
        return Verdict(head_sha=sha, result=result)
    return Verdict(head_sha=sha, result=Result.GREEN, passed=passed, url=counting[0].url)
