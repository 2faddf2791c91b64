"""Failures on request: what a real forge does on a bad day, as often and exactly where a test asks for it."""

import re
from typing import Annotated, Literal

import pydantic

from devforge import clock, database, errors, state

Kind = Literal[
    "webhook_drop",
    "webhook_delay",
    "webhook_duplicate",
    "webhook_reorder",
    "commit_then_502",
    "secondary_rate_limit",
    "primary_rate_limit",
    "expire_tokens",
    "latency",
    "fail_5xx",
]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as bad:
        raise ValueError(f"{pattern!r} is no regular expression: {bad}") from bad
    return pattern


Pattern = Annotated[str, pydantic.AfterValidator(_compiles)]


class Settings(pydantic.BaseModel):
    """One fault. `count` is how many requests or deliveries it hits; null means until it is deleted."""

    model_config = pydantic.ConfigDict(extra="forbid")

    kind: Kind
    count: int | None = pydantic.Field(default=None, ge=1)
    forever: bool = False
    method: Pattern = ".*"
    path: Pattern = ".*"
    events: list[str] | None = None
    status: int | None = pydantic.Field(default=None, ge=400, le=599)
    retry_after: int | None = pydantic.Field(default=None, ge=0)
    seconds: float = pydantic.Field(default=1.0, ge=0, le=3600)
    times: int = pydantic.Field(default=1, ge=1, le=20)
    window: int = pydantic.Field(default=2, ge=2, le=100)
    recorded: bool = True


def add(forge: state.Forge, settings: Settings) -> dict[str, object]:
    """Arm a fault; `expire_tokens` acts at once and stays armed for nothing."""
    if settings.kind == "expire_tokens":
        expired = forge.db.run(
            "UPDATE tokens SET expires_at = ? WHERE kind = 'installation' AND expires_at > ?",
            clock.epoch() - 1,
            clock.epoch(),
        )
        return {"id": None, "kind": settings.kind, "expired": expired}
    usual = settings.window if settings.kind == "webhook_reorder" else 1
    count = None if settings.forever else (settings.count or usual)
    fault_id = forge.db.insert("faults", kind=settings.kind, settings=settings.model_dump_json(), remaining=count)
    return shape(forge.db.get("SELECT * FROM faults WHERE id = ?", fault_id))


def shape(row: database.Row) -> dict[str, object]:
    """A fault as the admin API shows it; `remaining` null means without end."""
    settings = database.load(row["settings"])
    return {**settings, "id": row["id"], "remaining": row["remaining"], "used": row["used"]}


def _armed(forge: state.Forge, *kinds: str) -> list[tuple[int, Settings]]:
    rows = forge.db.all("SELECT * FROM faults WHERE remaining IS NULL OR remaining > 0 ORDER BY id")
    return [(row["id"], Settings.model_validate_json(row["settings"])) for row in rows if row["kind"] in kinds]


def _use(forge: state.Forge, fault_id: int) -> None:
    forge.db.run("UPDATE faults SET remaining = remaining - 1, used = used + 1 WHERE id = ?", fault_id)


def _hits(settings: Settings, method: str, path: str) -> bool:
    return bool(re.fullmatch(settings.method, method, re.I) and re.search(settings.path, path))


def latency(forge: state.Forge, method: str, path: str) -> float:
    """How many seconds this request has to wait first."""
    total = 0.0
    for fault_id, settings in _armed(forge, "latency"):
        if _hits(settings, method, path):
            _use(forge, fault_id)
            total += settings.seconds
    return total


def before(forge: state.Forge, method: str, path: str, login: str) -> None:
    """Refuse a request before it has any effect, if a fault says so.

    Raises:
        ApiError: a 5xx, or one of the two kinds of rate limit.
    """
    for fault_id, settings in _armed(forge, "fail_5xx", "secondary_rate_limit", "primary_rate_limit"):
        if not _hits(settings, method, path):
            continue
        _use(forge, fault_id)
        if settings.kind == "fail_5xx":
            raise errors.ApiError(settings.status or 503, "Service unavailable")
        if settings.kind == "secondary_rate_limit":
            headers = {} if settings.retry_after is None else {"Retry-After": str(settings.retry_after)}
            raise errors.ApiError(
                settings.status or 403,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
                headers=headers,
            )
        raise errors.ApiError(
            settings.status or 403,
            f"API rate limit exceeded for {login}.",
            headers={
                "X-RateLimit-Limit": str(forge.rate_limit),
                "X-RateLimit-Used": str(forge.rate_limit),
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int(clock.epoch() + settings.seconds) + 1),
            },
        )


def after(forge: state.Forge, method: str, path: str) -> bool:
    """Whether the answer of a committed mutating request is to be lost (502 instead)."""
    for fault_id, settings in _armed(forge, "commit_then_502"):
        if _hits(settings, method, path):
            _use(forge, fault_id)
            return True
    return False


def delivery(forge: state.Forge, event: str) -> list[tuple[int, Settings]]:
    """The webhook faults that hit this delivery; each is used once."""
    found = []
    for fault in _armed(forge, "webhook_drop", "webhook_delay", "webhook_duplicate", "webhook_reorder"):
        if fault[1].events is None or event in fault[1].events:
            _use(forge, fault[0])
            found.append(fault)
    return found
