"""What an answer that is not a success means: the one table from HTTP statuses to `domain.errors`."""

import email.utils
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import httpx

from domain import errors

Refusal = Callable[[str], errors.ForgeError]
"""Makes the error of one call from what the forge said."""

SECONDARY_WAIT: Final = timedelta(seconds=60)
"""GitHub's rule for a secondary limit that names no time: wait at least a minute, then longer each time."""
_MAX_SAID: Final = 300


@dataclass(frozen=True)
class Seen:
    """An answer, and the call in the operator's words."""

    to: str
    asked: str
    status: int
    headers: httpx.Headers
    data: Any
    decoded: bool

    @property
    def said(self) -> str:
        """The forge's own words on one line, shortened."""
        return said(self.data)


def of_answer(seen: Seen, *, refusals: Mapping[int, Refusal], now: float) -> errors.ForgeError:
    """The error that `seen` stands for; `now` in seconds since the epoch."""
    if wait := _limited(seen, now):
        return errors.RateLimited(
            f"could not {seen.to}: the forge's rate limit is used up ({seen.status}: {seen.said or 'no message'}), "
            f"it opens again in {wait.total_seconds():.0f} s; make the call again then",
            retry_after=wait,
        )
    if not 400 <= seen.status < 500 or seen.status == httpx.codes.REQUEST_TIMEOUT or not seen.decoded:
        return _unavailable(seen, now)
    if refusal := refusals.get(seen.status):
        return refusal(seen.said)
    return _refused(seen)


def said(data: Any) -> str:
    """Message and details of an error body, on one line; empty when it has neither."""
    if not isinstance(data, dict):
        return ""
    parts = [data.get("message")]
    details = data.get("errors")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict):
            parts.append(detail.get("message") or f"{detail.get('field', '')} {detail.get('code', '')}".strip())
        else:
            parts.append(detail)
    text = "; ".join(" ".join(part.split()) for part in parts if isinstance(part, str) and part.strip())
    return text if len(text) <= _MAX_SAID else text[:_MAX_SAID] + "…"


def _refused(seen: Seen) -> errors.ForgeError:
    answered = f"could not {seen.to}: the forge answered {seen.status} ({seen.said or 'no message'}) to {seen.asked}"
    match seen.status:
        case 401:
            return errors.BadCredentials(
                f"{answered}, so it does not accept the credentials it was given; they are wrong, expired or revoked: "
                "set a valid token or app key"
            )
        case 403 | 451:
            return errors.AccessDenied(
                f"{answered}, so this identity may not do that; give the token or the app the missing permission"
            )
        case 404 | 410:
            return errors.NotFound(
                f"{answered}, so it is missing or this identity has no access to it; check the name, and that the "
                "token or the app's installation covers the repository"
            )
        case _:
            return errors.InvalidRequest(f"{answered}, so it understood and refuses; the same call cannot succeed")


def _unavailable(seen: Seen, now: float) -> errors.ForgeUnavailable:
    what = seen.said or "no message" if seen.decoded else "the body is not JSON"
    unknown = "whether it was done is unknown: look it up before doing it again"
    return errors.ForgeUnavailable(
        f"could not {seen.to}: the forge answered {seen.status} ({what}) to {seen.asked}, which is no usable answer; "
        f"{'try again later' if seen.asked.startswith('GET ') else unknown}",
        retry_after=_retry_after(seen.headers, now),
    )


def _limited(seen: Seen, now: float) -> timedelta | None:
    """How long to wait, or None when this is no rate limit. GitHub answers both limits with 403 or 429."""
    if seen.status not in {httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS}:
        return None
    if wait := _retry_after(seen.headers, now):
        return wait
    if seen.headers.get("x-ratelimit-remaining") == "0":
        return _until_reset(seen.headers, now)
    if seen.status == httpx.codes.TOO_MANY_REQUESTS or _names_a_limit(seen.data):
        return SECONDARY_WAIT
    return None


def _names_a_limit(data: Any) -> bool:
    """A secondary limit without headers is told from a missing permission by its words alone."""
    if not isinstance(data, dict):
        return False
    words = f"{data.get('message', '')} {data.get('documentation_url', '')}".lower()
    return any(sign in words for sign in ("rate limit", "rate-limit", "abuse detection", "#abuse"))


def _retry_after(headers: httpx.Headers, now: float) -> timedelta | None:
    """Seconds or a date; None when absent. Zero counts as a second: a limit that is over is not told."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return timedelta(seconds=max(1, int(value[:9])))
    if not value:
        return None
    try:
        until = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return SECONDARY_WAIT
    return timedelta(seconds=max(1.0, until - _server_now(headers, now)))


def _until_reset(headers: httpx.Headers, now: float) -> timedelta:
    reset = headers.get("x-ratelimit-reset", "")
    if not reset.isdigit():
        return SECONDARY_WAIT
    # One second on top: the reset time is a whole second, and asking within it is still refused.
    return timedelta(seconds=max(1.0, int(reset[:12]) - _server_now(headers, now) + 1))


def until_reset(headers: httpx.Headers, now: float) -> timedelta:
    """The wait that an exhausted quota asks for; at least a minute when the headers name no time."""
    return _retry_after(headers, now) or _until_reset(headers, now)


def _server_now(headers: httpx.Headers, now: float) -> float:
    """The forge's clock, which its reset times are about; ours when the answer carries no date."""
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return now


def of_graphql(problems: object, *, to: str, headers: httpx.Headers, now: float) -> errors.ForgeError:
    """The error of a GraphQL answer, which is 200 whatever happened."""
    first = problems[0] if isinstance(problems, list) and problems and isinstance(problems[0], dict) else {}
    extensions = first.get("extensions")
    kind = first.get("type") or (extensions.get("code") if isinstance(extensions, dict) else None)
    failed = f"could not {to}: the forge answered {kind or 'an error'} ({said(first) or 'no message'})"
    match kind:
        case "RATE_LIMITED" | "RATE_LIMIT":
            wait = until_reset(headers, now)
            opens = f"its limit opens again in {wait.total_seconds():.0f} s"
            return errors.RateLimited(f"{failed}, {opens}; make the call again then", retry_after=wait)
        case "NOT_FOUND":
            return errors.NotFound(f"{failed}, so it is missing or this identity has no access to it; check both")
        case "FORBIDDEN" | "INSUFFICIENT_SCOPES":
            return errors.AccessDenied(
                f"{failed}, so this identity may not do that; give the token or the app the missing permission"
            )
        case None:  # GitHub's own breakdowns carry a message and nothing else
            return errors.ForgeUnavailable(f"{failed}; whether it was done is unknown: look it up before trying again")
        case _:
            return errors.InvalidRequest(f"{failed}, so it understood and refuses; the same call cannot succeed")
