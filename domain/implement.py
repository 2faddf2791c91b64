"""One implementation or repair: turns on one agent host until a pushed, verified head, or a stated reason why not."""

import enum
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, pool, refs, work
from domain.brief import Brief, bounded
from domain.policy import RepositoryPolicy


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Used(Model):
    """Retries spent in this round, one counter a failure class."""

    agent_error: int = 0
    stall: int = 0
    verify: int = 0
    safety: int = 0
    host_loss: int = 0
    unfinished: int = 0
    continued: int = 0


class Outcome(enum.StrEnum):
    READY = "ready"
    NO_CHANGES = "no_changes"
    FAILED = "failed"
    QUESTION = "question"
    """The agent's next call is a person's decision."""
    GONE = "gone"
    """The issue is closed, or no longer ours."""


class Handback(Model):
    """A person is done in the worktree; what they changed there is recorded as theirs."""

    by: str = Field(min_length=1, max_length=200)
    note: str = Field(default="", max_length=10_000)


class HoldSignal(Model):
    """How the run stands with its person, told to the round."""

    held: bool = Field(default=True)
    taken_over_by: str = ""
    now: bool = False
    """Interrupt the turn in progress."""
    handback: Handback | None = None


class Ending(Model):
    outcome: Outcome
    reason: str = ""
    failure_class: str = ""


class State(Model):
    """`run` is the parent's workflow id: it keys the worktree, the session and the artifacts on every host."""

    run: str
    issue: refs.Issue
    brief: Brief = Brief()
    policy: RepositoryPolicy = RepositoryPolicy()
    base_branch: str = ""
    branch: str = ""
    start_fresh: bool = False
    expected_remote_sha: str = ""
    backend: str = ""
    model: str = ""
    escalation_model: str = ""
    session: agent.Session | None = None
    turns: int = 0
    """Turns of the whole run so far: keys transcripts."""
    generation: int = 1
    """See `run.State.generation`."""
    run_id: str = ""
    """Of the run's execution: tells a retried run from the one before it."""
    labels: tuple[str, ...] = ()
    priority: int = 3
    fixed_backend: str = ""
    """The agent that a person demands; empty: the pool chooses, `backend` is its default."""
    asked: pool.BeginTurn | None = None
    grant: pool.Answer | None = None
    """The pool's word on the next turn; given back when the turn is over, however it ends."""
    granted: int = 0
    begin_by: datetime | None = None
    """A turn that begins later could outlive its place and its money."""
    ask_again: bool = False
    """The run waited so long for its host that the grant may be somebody else's by now: it is asked for again."""
    turn_end: pool.EndTurn | None = None
    look_first: bool = False
    """The issue is read again before the next turn."""
    answer: agent.Answer | None = None
    question: agent.Question | None = None
    taken_over_by: str = ""
    theirs: bool = False
    """The person who takes over has the worktree: nothing of the agent runs."""
    handback: Handback | None = None
    recorded: Handback | None = None
    """The newest handback that was dealt with: the run repeats it with everything that it tells afterwards."""
    accepted: tuple[work.AcceptedCommit, ...] = ()
    """Commits of persons that change protected paths, of the whole run so far."""
    unrecorded: bool = False
    """What a person handed back could not be pushed: it is in the worktree alone."""
    held: bool = False
    lease: work.HostLease | None = None
    only_here: bool = False
    """What the agent left may be on its host alone."""
    kept: bool = False
    """A turn has told that its work is pushed, so one that ends without a word has pushed it too, up to a little."""
    lost_host: str = ""
    worktree: work.Worktree | None = None
    turn: agent.TurnResult | None = None
    integration: work.Integration | None = None
    verification: work.Verification | None = None
    cost_usd: float | None = None
    spent_usd: float | None = None
    """By the turns of this round, as far as it is known."""
    used: Used = Used()
    ending: Ending | None = None


class Result(Model):
    """What the round leaves: `head_sha` is pushed and, with a verify command, verified."""

    ending: Ending
    head_sha: str = ""
    integration: work.Integration | None = None
    verification: work.Verification | None = None
    session: agent.Session | None = None
    host: work.HostLease | None = None
    summary: str = ""
    turns: int = 0
    cost_usd: float | None = None
    spent_usd: float | None = None
    question: agent.Question | None = None
    accepted: tuple[work.AcceptedCommit, ...] = ()
    disk_is_theirs: bool = False
    """The worktree holds what a person did and nobody has pushed: it is not removed with the run."""


class Step(enum.StrEnum):
    AWAIT_RELEASE = "await release"
    LOOK = "look at the issue"
    RESERVE = "reserve a turn"
    CLAIM_HOST = "claim host"
    PREPARE = "prepare worktree"
    HAND_OVER = "note what the agent has left"
    AWAIT_HANDBACK = "await handback"
    RECORD = "record a person's work"
    TURN = "agent turn"
    SETTLE = "settle the turn"
    INTEGRATE = "integrate"
    VERIFY = "verify"
    STOP = "stop"


def next_step(state: State) -> Step:
    if state.turn_end is not None:
        return Step.SETTLE
    if state.ending is not None:
        return Step.STOP
    if state.held:
        return Step.AWAIT_RELEASE
    if _agent_is_next(state):
        if state.look_first:
            return Step.LOOK
        if state.grant is None or state.ask_again:
            return Step.RESERVE
    if state.lease is None:
        return Step.CLAIM_HOST
    if state.worktree is None:
        return Step.PREPARE
    if state.taken_over_by:
        noted = state.generation < 3 or state.worktree.handed_over is not None
        return Step.AWAIT_HANDBACK if noted else Step.HAND_OVER
    if state.handback is not None:
        return Step.RECORD
    if state.turn is None:
        return Step.TURN
    if state.integration is None:
        return Step.INTEGRATE
    return Step.VERIFY


def _agent_is_next(state: State) -> bool:
    """A turn is due, and it is the agent's: a person who has the worktree needs no place in the pool."""
    return state.generation >= 2 and state.turn is None and not state.taken_over_by and state.handback is None


def grant_is_stale(state: State, now: datetime) -> bool:
    """Whether the turn has to be asked for again before it begins."""
    return state.grant is not None and state.begin_by is not None and now > state.begin_by


def result(state: State) -> Result:
    ending = state.ending or Ending(outcome=Outcome.FAILED, reason="the round was stopped")
    return Result(
        ending=ending,
        head_sha=state.integration.head_sha if state.integration else "",
        integration=state.integration,
        verification=state.verification,
        session=state.session,
        host=state.lease,
        summary=bounded(state.turn.summary, 4000) if state.turn else "",
        turns=state.turns,
        cost_usd=state.cost_usd,
        spent_usd=state.spent_usd,
        question=state.question,
        accepted=state.accepted,
        disk_is_theirs=disk_is_theirs(state),
    )


def disk_is_theirs(state: State) -> bool:
    """Whether the worktree holds, or may hold, what a person did and nobody has pushed."""
    return bool(state.taken_over_by) or state.handback is not None or state.unrecorded


def may_leave_host(state: State) -> bool:
    """Whether a wait without an end in sight frees the host for others: any host can go on from what is pushed."""
    if state.generation < 5 or state.lease is None or disk_is_theirs(state):
        return False
    noted = state.worktree is not None and state.worktree.handed_over is not None
    return not state.only_here and not noted


def turn_request(state: State, session: agent.Session, *, resume: bool) -> agent.TurnRequest:
    """The next turn, as the host is asked for it."""
    assert state.worktree is not None  # a turn is due only with a worktree
    return agent.TurnRequest(
        run=state.run,
        round=state.turns,
        brief=brief_for_turn(state),
        session=session,
        resume=resume,
        model=state.grant.model if state.grant else state.model,
        worktree=state.worktree.path,
        limits=agent.Limits(
            silence_seconds=state.policy.silence_seconds,
            total_seconds=state.policy.turn_seconds,
            cost_usd=state.grant.reserved_usd if state.grant and state.grant.room_usd is not None else None,
        ),
        autonomy=state.policy.autonomy,
        allowed_tools=state.policy.allowed_tools,
        ask_tools=state.policy.ask_tools,
        mcp_servers=state.policy.mcp_servers,
        trust_repository_settings=state.policy.trust_repository_settings,
        hooks=state.policy.hooks,
        egress=state.policy.egress,
        image=state.grant.image if state.grant else "",
        answer=state.answer,
        appendix=state.grant.appendix if state.grant else "",
        continuation=resume and state.generation >= 2,
    )


def brief_for_turn(state: State) -> Brief:
    tip = state.worktree.base_tip_sha if state.worktree else ""
    own = state.policy.workflow.brief() if state.policy.workflow else {}
    return state.brief.model_copy(update={**own, "turn": max(state.turns, 1), "base_tip_sha": tip})
