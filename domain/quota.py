"""Providers that refuse everybody for a while: one cool-down a provider, shared by all runs that use it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(minutes=30)
"""Of a provider that does not say how long; doubled from `FIRST_WAIT` with each refusal in a row."""
LONGEST_ASKED: Final = timedelta(days=8)
"""The longest window of a provider is a week; more is an error in its answer."""
APART: Final = timedelta(seconds=10)
"""After a cool-down turns begin this far apart until one has ended well: the window may not be what was said."""
CAREFUL_FOR: Final = timedelta(minutes=15)
"""After so long without a refusal a cool-down is forgotten."""

_PROVIDERS: Final[Mapping[str, str]] = {
    "claude": "anthropic",
    "codex": "openai",
    "gemini": "google",
    "kimi": "moonshot",
}


def provider_of(backend: str, model: str = "") -> str:
    """Whose quota a turn uses. opencode names the provider in the model; an unknown backend is its own provider."""
    if backend == "opencode" and "/" in model:
        return model.partition("/")[0]
    return _PROVIDERS.get(backend, backend)


def asked_for(seconds: float | None) -> timedelta | None:
    """The wait that a provider asked for; None when it named none. A number that no time has is an error of its own."""
    return timedelta(seconds=min(seconds, LONGEST_ASKED.total_seconds())) if seconds and seconds > 0 else None


class CoolDown(BaseModel):
    model_config = ConfigDict(extra="ignore")

    provider: str
    until: datetime
    refused_at: datetime
    """The newest refusal: a turn that began after it and ended well ends the cool-down."""
    refusals: int = 1
    by_run: str = ""
    """The run whose turn was refused last."""


class CoolDowns(BaseModel):
    """Which providers are left alone, and until when."""

    model_config = ConfigDict(extra="ignore")

    providers: dict[str, CoolDown] = Field(default_factory=dict)

    def until(self, provider: str, now: datetime) -> datetime | None:
        """When the next turn of this provider may begin; None: now."""
        found = self.providers.get(provider)
        return found.until if found and found.until > now else None

    def began(self, provider: str, now: datetime) -> None:
        """A turn begins: just after a cool-down the next one keeps its distance."""
        found = self.providers.get(provider)
        if found is None:
            return
        if now - max(found.refused_at, found.until) > CAREFUL_FOR:
            del self.providers[provider]
        else:
            found.until = max(found.until, now + APART)

    def refused(self, provider: str, retry_after: timedelta | None, now: datetime, run: str = "") -> datetime:
        """A turn was refused. Turns that were under way at the first refusal are refused too: they are one refusal.

        Returns:
            When the provider is asked again.
        """
        found = self.providers.get(provider)
        again = found is not None and found.until > now and found.until - now > APART
        refusals = (found.refusals if found else 0) + (0 if again else 1)
        wait = FIRST_WAIT * 2 ** min(refusals - 1, 10)
        wait = min(max(retry_after, FIRST_WAIT / 60), LONGEST_ASKED) if retry_after else min(wait, LONGEST_WAIT)
        until = max(found.until, now + wait) if found else now + wait
        self.providers[provider] = CoolDown(
            provider=provider, until=until, refused_at=now, refusals=refusals, by_run=run
        )
        return until

    def answered(self, provider: str, began_at: datetime) -> None:
        """A turn ended with the model's own answer: what it began after is over."""
        found = self.providers.get(provider)
        if found is not None and began_at >= found.refused_at:
            del self.providers[provider]

    def clear(self, provider: str) -> bool:
        """An operator knows better; False when there is no such cool-down."""
        return self.providers.pop(provider, None) is not None
