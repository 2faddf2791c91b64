"""What a run waits for while a round of it is under way: one entry a step of the round."""

from datetime import timedelta

from domain import implement, run
from domain.surroundings import Surroundings
from domain.waiting import Mover, Wait

_WHY = {
    run.Reason.INITIAL: "the first implementation",
    run.Reason.REVIEW: "a repair of what the review found",
    run.Reason.CI: "a repair of red CI",
    run.Reason.CONFLICT: "a repair of a merge conflict",
    run.Reason.EDIT: "a change a person asked for",
    run.Reason.SAFETY: "a repair of what the safety scan found",
    run.Reason.ANSWER: "a change a person asked for: the answer to its question",
    run.Reason.TAKEOVER: "a change a person asked for: what they did by hand",
}

_IMPLEMENTING: dict[implement.Step, tuple[str, Mover, str, str]] = {
    implement.Step.CLAIM_HOST: (
        "an agent host with a free slot, for {why}",
        Mover.FETTLE,
        "a host claims it",
        "fettle worker list",
    ),
    implement.Step.PREPARE: (
        "its worktree on host {host}, for {why}",
        Mover.FETTLE,
        "the branch is checked out",
        "fettle status {run}",
    ),
    implement.Step.TURN: (
        "{agent} on host {host}: {why}",
        Mover.AGENT,
        "its turn ends, or its time is used up",
        "fettle logs {run} --follow",
    ),
    implement.Step.INTEGRATE: (
        "the safety scan and the push of what {agent} committed",
        Mover.FETTLE,
        "the branch is pushed, or the scan sends it back",
        "fettle status {run}",
    ),
    implement.Step.VERIFY: (
        "the verify command on what was pushed",
        Mover.FETTLE,
        "it passes, or sends its output back to {agent}",
        "fettle status {run}",
    ),
    implement.Step.AWAIT_RELEASE: (
        "its release, the agent's next turn is held",
        Mover.PERSON,
        "somebody releases it",
        "fettle release {run}",
    ),
    implement.Step.LOOK: (
        "a look at the issue before the next turn, for {why}",
        Mover.FETTLE,
        "the issue is still open and ours",
        "fettle status {run}",
    ),
    implement.Step.RESERVE: (
        "a turn of the agent pool, for {why}",
        Mover.OTHER_RUNS,
        "an agent of the pool, its budget and its provider allow a turn",
        "fettle agents list",
    ),
    implement.Step.SETTLE: (
        "its last turn to be booked",
        Mover.FETTLE,
        "the ledger has it",
        "fettle cost",
    ),
    implement.Step.HAND_OVER: (
        "a note of what the agent has left, before {person} gets the worktree",
        Mover.FETTLE,
        "it is written",
        "fettle status {run}",
    ),
    implement.Step.AWAIT_HANDBACK: (
        "{person}, who has the worktree on host {host}",
        Mover.PERSON,
        "{person} hands it back",
        "fettle handback {run}",
    ),
    implement.Step.RECORD: (
        "the commit of what {person} changed",
        Mover.FETTLE,
        "it is pushed",
        "fettle status {run}",
    ),
    implement.Step.STOP: (
        "the implementation to hand over its result",
        Mover.FETTLE,
        "the result is recorded",
        "fettle status {run}",
    ),
}


def _taken_over_in_a_turn(child: implement.State, step: implement.Step) -> bool:
    """A turn's grant is given back before a person gets the worktree."""
    if step is implement.Step.HAND_OVER:
        return child.grant is not None
    return step is implement.Step.AWAIT_HANDBACK and not child.theirs


def in_round(state: run.State, around: Surroundings) -> Wait:
    child = around.implementation
    step = implement.next_step(child) if child else implement.Step.TURN
    if child is not None and _taken_over_in_a_turn(child, step):
        step = implement.Step.TURN  # a person takes over at its end
    waits, mover, ends, command = _IMPLEMENTING[step]
    lease = (child.lease if child else None) or state.host
    words = {
        "why": _WHY[state.order.reason if state.order else run.Reason.INITIAL],
        "agent": (state.session.backend if state.session else "") or state.backend or "the agent",
        "host": lease.host_id if lease else "(not known)",
        "person": (child.taken_over_by if child else "") or "the person",
        "run": str(state.issue),
    }
    limit = None
    if mover is Mover.AGENT and state.since is not None and state.rounds <= 1 and (child is None or child.turns <= 1):
        limit = state.since + timedelta(seconds=state.policy.turn_seconds)  # of later turns the start is not known
    return Wait(
        waits_for=waits.format(**words),
        mover=mover,
        ends_when=ends.format(**words),
        command=command.format(**words),
        deadline=limit,
    )
