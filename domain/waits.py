"""What each step of a run waits for, whose move it is, and what ends the wait: one entry a step and a hold."""

from collections.abc import Callable
from datetime import timedelta

from domain import brief, checks, fleet, path_leases, round_waits, run, steps
from domain.surroundings import Surroundings
from domain.waiting import Mover, Wait

_LONGEST_QUESTION = 5000


def wait_at(step: steps.Step, state: run.State, around: Surroundings) -> Wait:
    """The wait of a run whose due step is `step`. Text of people and models in it is quoted, never interpreted."""
    return _WAITS[step](state, around)


# --- one function a step -------------------------------------------------------------------------------------------


def _own(doing: str, until: str) -> Callable[[run.State, Surroundings], Wait]:
    """A step that Fettle takes by itself, within seconds or minutes."""

    def wait(state: run.State, around: Surroundings) -> Wait:
        return Wait(waits_for=doing, mover=Mover.FETTLE, ends_when=until, command=f"fettle status {state.issue}")

    return wait


def _dependencies(state: run.State, around: Surroundings) -> Wait:
    numbers = state.triage.depends_on if state.triage else ()
    names = ", ".join(str(state.issue.repo.issue(n)) for n in numbers)
    one = len(numbers) == 1
    more = state.triage.not_waited_for if state.triage else 0
    beyond = f"; {more} more in its body are not waited for: name them in one of these issues" if more else ""
    first = state.issue.repo.issue(numbers[0]) if numbers else state.issue
    return Wait(
        waits_for=f"the {'issue' if one else 'issues'} it depends on: {names}{beyond}",
        mover=Mover.OTHER_RUNS,
        ends_when=f"{'that issue is' if one else 'all of them are'} done; one that fails or is rejected fails this run",
        command=f"fettle explain {first}",
    )


def _dispatch(state: run.State, around: Surroundings) -> Wait:
    return Wait(
        waits_for="a person's approval before an agent starts (approval mode review-all)",
        mover=Mover.PERSON,
        ends_when="somebody approves or rejects it",
        command=f"fettle approve {state.issue}",
    )


def _admission(state: run.State, around: Surroundings) -> Wait:
    repository, mine = around.repository, state.issue.workflow_id
    ends, command, mover = "a place is free", f"fettle fleet --repo {state.issue.repo}", Mover.OTHER_RUNS
    if repository is None and state.waits_for_files:
        return _behind(state, state.behind)
    if repository is None:
        waits = f"a place among the runs of {state.issue.repo} (at most {state.policy.max_in_flight} at once)"
    elif repository.settings is None:
        waits, mover, ends = "the fleet's settings: the fleet workflow has not answered yet", Mover.FETTLE, "it answers"
        command = "fettle doctor"
    elif repository.settings.paused:
        waits, mover, ends = "the fleet, which is paused", Mover.PERSON, "somebody resumes the fleet"
        command = "fettle resume"
    elif behind := repository.behind(mine):
        return _behind(state, behind)
    elif (question := repository.next_comparison()) and repository.place(mine) >= repository.place(question.run):
        own = question.run == mine
        what = "a forecast" if own else f"its turn in line, behind {path_leases.name_of(question.run)} and a forecast"
        waits = f"{what} whether {'its' if own else 'that'} work collides with {', '.join(_names(question.others))}"
        mover, ends = Mover.FETTLE, "the code graph has answered, or two minutes have passed"
    elif len(repository.running) < repository.max_in_flight and (crowd := repository.crowd(mine)):
        waits = f"its turn in line, behind {len(crowd)} runs that wait for the files of others: nobody passes so many"
        ends = f"one of {', '.join(_names(crowd))} waits no more"
    else:
        places, among = _places(repository, mine)
        waits = f"a place in {state.issue.repo}: {places} in flight{_position(repository, mine)}"
        if among:
            ends = f"one of {', '.join(_names(among))} ends"
    return Wait(waits_for=waits, mover=mover, ends_when=ends, command=command)


def _behind(state: run.State, behind: tuple[path_leases.Pair, ...]) -> Wait:
    one = "that run ends" if len(behind) == 1 else "all of these runs have ended"
    return Wait(
        waits_for=path_leases.sentence(behind),
        mover=Mover.OTHER_RUNS,
        ends_when=f"{one}, or somebody lets it go on beside: fettle release {state.issue}",
        command=f"fettle explain {path_leases.name_of(behind[0].run)}",
    )


def _places(repository: fleet.RepositoryState, mine: str) -> tuple[str, tuple[str, ...]]:
    """How many places are taken of those that this run needs one of, and by whom: those of its issue's state where
    these are what is short."""
    running, most = repository.running, repository.max_in_flight
    own = next((w for w in repository.waiting if w.run == mine), None)
    if own is not None and own.state_limit is not None and len(running) < most:
        alike = tuple(run for run, state in repository.states.items() if state == own.state)
        return f"{len(alike)} of at most {own.state_limit} in the state '{own.state}'", alike
    return f"{len(running)} of at most {most}", running


def _position(repository: fleet.RepositoryState, mine: str) -> str:
    order = [w.run for w in sorted(repository.waiting, key=lambda w: (w.priority, w.order))]
    return f", it is number {order.index(mine) + 1} of {len(order)} in line" if mine in order else ""


def _names(workflow_ids: tuple[str, ...]) -> list[str]:
    names = [path_leases.name_of(workflow_id) for workflow_id in workflow_ids[:5]]
    return names + (["…"] if len(workflow_ids) > len(names) else [])


def _ci(state: run.State, around: Surroundings) -> Wait:
    change = state.change
    head = change.head_sha[:9] if change else "the head"
    start = change.published_at if change and change.published_at else state.since
    return Wait(
        waits_for=f"CI to report on {head}",
        mover=Mover.CI,
        ends_when="every required check passes, or one fails (that goes back to the agent)",
        command=f"fettle status {state.issue}",
        deadline=start + timedelta(seconds=state.policy.ci_timeout_seconds) if start else None,
    )


def _answer(state: run.State, around: Surroundings) -> Wait:
    question = state.question
    action = question.id if question else ""
    what = f"{question.tool} {question.text}" if question else ""
    return Wait(
        # A person decides by what stands here: all of it, or the words that some is missing.
        waits_for=brief.bounded(f"a person's answer to action {action}: {what}".strip(), _LONGEST_QUESTION),
        mover=Mover.PERSON,
        ends_when="somebody allows or refuses exactly this call; the agent goes on with either",
        command=f"fettle approve {state.issue} --action {action}",
    )


def _approval(state: run.State, around: Surroundings) -> Wait:
    change = state.change
    head = change.head_sha if change else ""
    untested = change is not None and change.ci is not None and change.ci.result is checks.Result.NONE
    reason = "no CI check has tested it" if untested else f"approval mode {state.mode}"
    where = f"; look at {state.pull.url}" if state.pull and state.pull.url else ""
    return Wait(
        waits_for=f"a person's approval of {head[:9]} ({reason}){where}",
        mover=Mover.PERSON,
        ends_when="somebody approves exactly this head or rejects the run; a new push asks again",
        command=f"fettle approve {state.issue} --head {head}",
    )


def _merge(state: run.State, around: Surroundings) -> Wait:
    if state.merge.cleared_sha:
        return _cleared(state, "which is under way", "the forge has merged it, or refuses it")
    base = state.base_branch or "the base branch"
    place = around.queue.position(state.issue.workflow_id) if around.queue else None
    waits, mover = f"its turn in the merge queue of {base}", Mover.FETTLE
    if around.queue is not None and place is not None and place > 0:
        ahead = around.queue.current
        waits += f": number {place} in line" + (f" behind {ahead.pull}" if ahead else "")
        mover = Mover.OTHER_RUNS if ahead or place > 1 else Mover.FETTLE
    elif around.queue is not None and place == 0:
        tested = around.queue.candidate.tested_sha[:9] if around.queue.candidate else ""
        waits = f"CI on its merge candidate {tested}" if tested else "its merge candidate to be built"
        mover = Mover.CI if tested else Mover.FETTLE
    return Wait(
        waits_for=waits,
        mover=mover,
        ends_when=f"its candidate, on top of {base} as it is now, is green; a red one or a conflict sends it back",
        command=f"fettle status {state.issue}",
    )


def _cleared(state: run.State, how: str, ends: str) -> Wait:
    return Wait(
        waits_for=f"the merge of {state.merge.cleared_sha[:9]}, {how}",
        mover=Mover.FORGE,
        ends_when=ends,
        command=f"fettle status {state.issue}",
    )


def _close(state: run.State, around: Surroundings) -> Wait:
    how = f" as {state.ending.phase} ({state.ending.reason})" if state.ending else ""
    return Wait(
        waits_for=f"its own close{how}: labels, comment, host, branch",
        mover=Mover.FETTLE,
        ends_when="the forge shows the ending and the host is released",
        command=f"fettle status {state.issue}",
    )


def _stop(state: run.State, around: Surroundings) -> Wait:
    how = f": {state.ending.reason}" if state.ending and state.ending.reason else ""
    done = (state.ending.phase if state.ending else state.phase) is run.Phase.DONE
    return Wait(
        waits_for=f"nothing, it has ended ({state.ending.phase if state.ending else state.phase}){how}",
        mover=Mover.NOBODY if done else Mover.PERSON,
        ends_when="it has ended" if done else "it stays as it is, unless somebody tries it once more",
        command=f"fettle status {state.issue}" if done else f"fettle retry {state.issue}",
    )


def _release(state: run.State, around: Surroundings) -> Wait:
    assert state.hold is not None  # AWAIT_RELEASE is due only while a hold stands
    waits, ends, command = (words.format(run=state.issue) for words in _HOLDS[state.hold.kind])
    by = f" by {state.hold.by}" if state.hold.kind is run.HoldKind.USER else ""
    note = f": {state.hold.note}" if state.hold.note else ""
    if state.merge.cleared_sha:
        ends = "the forge has merged it, and the hold came too late; or it refuses, and the run stands held"
        return _cleared(state, f"which was cleared before the hold{by}{note}", ends)
    return Wait(waits_for=f"{waits}{by}{note}", mover=Mover.PERSON, ends_when=ends, command=command)


_HOLDS: dict[run.HoldKind, tuple[str, str, str]] = {
    run.HoldKind.USER: ("its release, it is held", "somebody releases it", "fettle release {run}"),
    run.HoldKind.CONFLICT: (
        "a person, the merge queue cannot place it",
        "somebody resolves the conflict on its branch and retries it",
        "fettle retry {run}",
    ),
    run.HoldKind.CIRCUIT_BREAKER: (
        "the repository's circuit breaker, which is open after failures in a row",
        "somebody looks at the failures and releases it",
        "fettle release {run}",
    ),
    run.HoldKind.BUDGET: (
        "money, its budget is used up",
        "the budget grows or a new day begins, and somebody releases it",
        "fettle release {run}",
    ),
    run.HoldKind.PROVIDER_QUOTA: (
        "the agent provider's quota",
        "the provider's window passes, or another agent takes over (fettle edit {run} --agent NAME), and it is retried",
        "fettle retry {run}",
    ),
    run.HoldKind.UNKNOWN_OUTCOME: (
        "a person, a step ended and nobody knows whether its effect happened",
        "somebody checks the forge and retries the step",
        "fettle retry {run}",
    ),
}
"""Standing holds only, each a person's move; the two approval holds belong to their gates."""

_WAITS: dict[steps.Step, Callable[[run.State, Surroundings], Wait]] = {
    steps.Step.OPEN: _own("its first look at the issue on the forge", "the issue is read and may be worked on"),
    steps.Step.TRIAGE: _own("triage", "agent, model, priority and dependencies are known"),
    steps.Step.CLAIM: _own("its claim on the issue", "the issue carries the in-progress label"),
    steps.Step.AWAIT_DEPENDENCIES: _dependencies,
    steps.Step.AWAIT_DISPATCH: _dispatch,
    steps.Step.ADMIT: _admission,
    steps.Step.IMPLEMENT: round_waits.in_round,
    steps.Step.AWAIT_ANSWER: _answer,
    steps.Step.PUBLISH: _own("its pull request", "the pull request shows the pushed head"),
    steps.Step.INSPECT: _own("a look at the head somebody else pushed", "its commits are imported and scanned"),
    steps.Step.REVIEW: _own("the review of its head", "the review has a verdict on this head"),
    steps.Step.POST_REVIEW: _own("the review to be posted", "the pull request carries the review"),
    steps.Step.AWAIT_CI: _ci,
    steps.Step.MARK_READY: _own("its pull request to leave draft", "the forge shows it as ready"),
    steps.Step.AWAIT_APPROVAL: _approval,
    steps.Step.MERGE: _merge,
    steps.Step.CLOSE: _close,
    steps.Step.AWAIT_RELEASE: _release,
    steps.Step.STOP: _stop,
}
