"""Time as the forge writes it: UTC, whole seconds, with a trailing Z."""

from datetime import UTC as UTC
from datetime import datetime, timedelta


def now() -> str:
    """The current time as `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def after(seconds: float) -> str:
    """The time `seconds` from now, in the same form."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise() -> str:
    """The current time with microseconds, for the log of mutating requests."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def epoch() -> float:
    """Seconds since 1970, for comparisons with stored deadlines."""
    return datetime.now(UTC).timestamp()


def parse(stamp: str) -> datetime:
    """Read an ISO 8601 stamp; one without a zone is taken as UTC.

    Raises:
        ValueError: the text is no ISO 8601 date.
    """
    moment = datetime.fromisoformat(stamp)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
