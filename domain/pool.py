"""How a run asks the pool for one turn of an agent, what it is told, and how it gives the turn back."""

import enum
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, errors, refs, roster

LOST: Final = "Lost"
"""Outcome of a turn whose run never told its end. It gives way to the end that the run tells after all."""


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Verdict(enum.StrEnum):
    GO = "go"
    WAIT = "wait"
    REFUSE = "refuse"


class WaitReason(enum.StrEnum):
    """What a turn waits for."""

    SLOT = "slot"
    """Every agent that fits is at its `max_parallel`."""
    BUDGET = "budget"
    QUOTA = "quota"
    """The provider refuses everybody for a while."""
    PAUSED = "paused"
    """Every agent that fits is paused by a person."""


class BeginTurn(Model):
    """A run asks for one turn. `run`, `round` and `attempt` name it: asking again for the same turn is answered with
    the same grant, however often."""

    run: str = Field(min_length=1)
    """The run's workflow id."""
    round: int = 1
    """`agent.TurnRequest.round`: the turn's number in the run."""
    attempt: int = 1
    """Grows when the workflow itself tries the same round again, for example on another host."""
    run_id: str = ""
    """Tells a retried run from the one before it; empty: they share one run budget."""
    repo: refs.Repository
    issue: int = 0
    type: str = roster.DEV
    labels: tuple[str, ...] = ()
    priority: int = 3
    """1 goes first."""
    backend: str = ""
    """The backend that a person, the policy or a running session demands; empty: the pool chooses."""
    default_backend: str = ""
    """The installation's, for an agent that names none and whose type names none."""
    fallbacks: tuple[str, ...] = ()
    """Backends that the policy declares for when the first one's provider refuses; tried in order."""
    model: str = ""
    """The run's own model, for `backend` (else `default_backend`); it goes before the agent's."""
    provider: str = ""
    """Whose quota the turn uses; empty: derived from backend and model."""
    estimate_usd: float | None = Field(default=None, ge=0)
    """What the turn may cost; None: the ledger's experience, else the fleet's default."""
    turn_seconds: float = 3600
    """The turn's own limit; its reservation outlives that by some."""
    judgement: bool = False
    """A model is asked once, for advice named by `type`: that needs money and a provider, and no agent of the pool."""
    subject: str = ""
    """Tells judgements of one kind apart, in one run."""

    @property
    def turn(self) -> str:
        """Name of the turn: while it is under way, asking for it again is answered with the same grant."""
        kind = f"{self.type}:{self.subject}:" if self.judgement else ""
        return f"{self.run}:{kind}{self.round}:{self.attempt}"


class Answer(Model):
    """What the pool says. On `GO` the fields after `sentence` tell the turn what to be; give the turn back with
    `EndTurn`, whatever becomes of it."""

    verdict: Verdict
    reason: WaitReason | None = None
    until: datetime | None = None
    """When to ask again at the latest that is known; None: nobody can say."""
    sentence: str = ""
    """Why it waits or is refused, and what to do; on `GO` a warning, or empty."""
    turn: str = ""
    """Key of the reservation and of the turn's line in the ledger; no two grants share one."""
    instance: str = ""
    backend: str = ""
    model: str = ""
    provider: str = ""
    appendix: str = ""
    image: str = ""
    reserved_usd: float = 0
    room_usd: float | None = None
    """What the tightest budget still allows this turn; None: no budget is set. For a CLI's own budget switch."""
    begin_within_seconds: float | None = None
    """A turn that begins later could outlive its reservation: it is asked for again first. None: whenever it likes."""


class EndTurn(Model):
    """A turn is over: its reservation is settled, its line goes into the ledger. Telling it twice is telling it once.

    A cost of None is unknown: the budgets keep the reservation, and the ledger says unknown, never zero.
    """

    turn: str = Field(min_length=1)
    run: str
    round: int = 1
    run_id: str = ""
    repo: refs.Repository
    issue: int = 0
    type: str = roster.DEV
    instance: str = ""
    backend: str = ""
    model: str = ""
    provider: str = ""
    session_id: str = ""
    version: str = ""
    outcome: str = ""
    """An `agent.Outcome`, or the type of the error that ended the turn."""
    session_cost_usd: float | None = None
    """The session's total so far, as the CLI counts."""
    turn_cost_usd: float | None = None
    """What the host saw this turn add to it."""
    usage: agent.Usage | None = None
    retry_after_seconds: float | None = None
    """What the provider asked for, with `QuotaExhausted`."""
    reserved_usd: float = 0
    began: bool = True
    """False: no agent was started, so nothing was spent; the turn gets no line in the ledger."""

    @classmethod
    def finished(cls, asked: BeginTurn, answer: Answer, result: agent.TurnResult) -> "EndTurn":
        """The end of a turn that `run_agent` answered."""
        return cls(
            **_turn(asked, answer),
            session_id=result.session.id,
            version=result.session.version or result.capability.version,
            outcome=result.outcome,
            session_cost_usd=result.cost_usd,
            turn_cost_usd=result.turn_cost_usd,
            usage=result.usage,
        )

    @classmethod
    def failed(
        cls,
        asked: BeginTurn,
        answer: Answer,
        *,
        error_type: str,
        retry_after_seconds: float | None = None,
        session: agent.Session | None = None,
        session_cost_usd: float | None = None,
        began: bool = True,
    ) -> "EndTurn":
        """The end of a turn that raised, was cancelled, or never began; `error_type` is the wire type."""
        return cls(
            **_turn(asked, answer),
            session_id=session.id if session else "",
            version=session.version if session else "",
            outcome=error_type,
            retry_after_seconds=retry_after_seconds,
            session_cost_usd=session_cost_usd,
            began=began,
        )

    @property
    def quota_hit(self) -> bool:
        return self.outcome == errors.QuotaExhausted.wire_type()


class Settled(Model):
    """What a turn was booked at. `known` False: at its reservation."""

    turn: str = ""
    cost_usd: float = 0
    known: bool = True


def _turn(asked: BeginTurn, answer: Answer) -> dict[str, object]:
    return {
        "turn": answer.turn or asked.turn,
        "run": asked.run,
        "round": asked.round,
        "run_id": asked.run_id,
        "repo": asked.repo,
        "issue": asked.issue,
        "type": asked.type,
        "instance": answer.instance,
        "backend": answer.backend,
        "model": answer.model,
        "provider": answer.provider,
        "reserved_usd": answer.reserved_usd,
    }
