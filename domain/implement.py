"""One implementation or repair: turns on one agent host until a pushed, verified head, or a stated reason why not."""

import enum

from pydantic import BaseModel, ConfigDict, Field

from domain import agent, errors, refs, work
from domain.brief import FEEDBACK_LIMIT, Brief, bounded, tail
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


class Outcome(enum.StrEnum):
    READY = "ready"
    NO_CHANGES = "no_changes"
    FAILED = "failed"


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
    held: bool = False
    lease: work.HostLease | None = None
    lost_host: str = ""
    worktree: work.Worktree | None = None
    turn: agent.TurnResult | None = None
    integration: work.Integration | None = None
    verification: work.Verification | None = None
    cost_usd: float | None = None
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


class Step(enum.StrEnum):
    AWAIT_RELEASE = "await release"
    CLAIM_HOST = "claim host"
    PREPARE = "prepare worktree"
    TURN = "agent turn"
    INTEGRATE = "integrate"
    VERIFY = "verify"
    STOP = "stop"


def next_step(state: State) -> Step:
    if state.ending is not None:
        return Step.STOP
    if state.held:
        return Step.AWAIT_RELEASE
    if state.lease is None:
        return Step.CLAIM_HOST
    if state.worktree is None:
        return Step.PREPARE
    if state.turn is None:
        return Step.TURN
    if state.integration is None:
        return Step.INTEGRATE
    return Step.VERIFY


def after_turn(state: State, result: agent.TurnResult) -> None:
    state.turn = result
    state.session = result.session
    state.cost_usd = result.cost_usd if result.cost_usd is not None else state.cost_usd
    if result.outcome is agent.Outcome.REFUSED:
        _fail(state, "agent_error", f"the agent declined the task: {bounded(result.summary, 300)}")


def after_integration(state: State, result: work.Integration) -> None:
    """No change gets one more turn, an unsafe one goes back to the agent, a pushed one is verified next."""
    state.integration = result
    if result.outcome is work.IntegrationOutcome.PUSHED:
        state.expected_remote_sha = result.head_sha
        if not state.policy.verify_command:
            state.ending = Ending(outcome=Outcome.READY)
        return
    if result.outcome is work.IntegrationOutcome.NO_CHANGES:
        if state.used.unfinished:
            summary = bounded(state.turn.summary, 300) if state.turn else ""
            state.ending = Ending(outcome=Outcome.NO_CHANGES, reason=f"the agent changed nothing: {summary}")
            return
        state.used.unfinished += 1
        _again(state, "unfinished", "The branch has no changes yet. If nothing needs to change, say why and stop.")
        return
    blocking = [f for f in result.findings if f.level is work.FindingLevel.BLOCKS]
    words = "; ".join(f"{f.rule} in {f.path}:{f.line} ({f.commit[:9]})" for f in blocking[:10])
    if state.used.safety >= state.policy.budgets.safety:
        _fail(state, "safety", f"the safety scan blocks the push: {words}")
        return
    state.used.safety += 1
    advice = "Remove the lines from every commit of the branch (rewrite the branch's own commits where needed)."
    _again(state, "safety", f"The safety scan blocks the push: {words}. {advice}")


def after_verification(state: State, result: work.Verification) -> None:
    state.verification = result
    if result.passed:
        state.ending = Ending(outcome=Outcome.READY)
        return
    how = "timed out" if result.timed_out else f"exit code {result.exit_code}"
    if state.used.verify >= state.policy.budgets.verify:
        _fail(
            state, "verify", f"verification still fails ({how}) after {state.used.verify} repairs: {result.tail[-300:]}"
        )
        return
    state.used.verify += 1
    _escalate(state)
    _again(state, "verify", f"`{state.policy.verify_command}` fails ({how}):\n{result.tail}")


def after_turn_error(state: State, error_type: str, message: str) -> None:
    """An agent that crashed or stalled is asked again, with the stronger model, up to its budget."""
    kind = (
        "stall" if error_type in {errors.AgentStalled.wire_type(), errors.AgentTimedOut.wire_type()} else "agent_error"
    )
    used: int = getattr(state.used, kind)
    if used >= getattr(state.policy.budgets, kind):
        _fail(state, kind, f"{error_type} after {used} retries: {bounded(message, 500)}")
        return
    setattr(state.used, kind, used + 1)
    _escalate(state)


def after_host_loss(state: State) -> None:
    """The host holds nothing that is not pushed but the last turn: another one continues from the branch, and a turn
    whose work was not pushed is taken again."""
    if state.used.host_loss >= state.policy.budgets.host_loss:
        _fail(state, "host_loss", f"{state.used.host_loss + 1} agent hosts were lost under this run")
        return
    state.used.host_loss += 1
    state.lost_host = state.lease.host_id if state.lease else ""
    state.lease = None
    state.worktree = None
    if state.integration is None:
        state.turn = None


def after_unsafe_work(state: State, message: str) -> None:
    """A commit breaks a rule of the import: its sentence goes back to the agent, up to the safety budget."""
    if state.used.safety >= state.policy.budgets.safety:
        _fail(state, "safety", f"the import of the agent's commits is refused: {bounded(message, 1000)}")
        return
    state.used.safety += 1
    _again(state, "safety", message)


def failed(state: State, step: Step, error_type: str, message: str) -> None:
    """A step that no retry helps: the round ends, in the error's own words."""
    _fail(state, error_type, f"'{step}' ended in {error_type}: {bounded(message, 1000)}")


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
    )


def brief_for_turn(state: State) -> Brief:
    tip = state.worktree.base_tip_sha if state.worktree else ""
    return state.brief.model_copy(update={"turn": max(state.turns, 1), "base_tip_sha": tip})


def _again(state: State, reason: str, feedback: str) -> None:
    state.brief = state.brief.model_copy(update={"reason": reason, "feedback": tail(feedback, FEEDBACK_LIMIT)})
    state.turn = None
    state.integration = None
    state.verification = None


def _escalate(state: State) -> None:
    if state.escalation_model:
        state.model = state.escalation_model


def _fail(state: State, failure_class: str, reason: str) -> None:
    state.ending = Ending(outcome=Outcome.FAILED, reason=reason, failure_class=failure_class)


class HoldSignal(Model):
    held: bool = Field(default=True)
