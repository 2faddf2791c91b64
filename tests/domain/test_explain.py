"""Every step, hold and ending explains itself: what it waits for, whose move it is, and the command that helps."""

from datetime import UTC, datetime, timedelta

import pytest

from domain import (
    agent,
    checks,
    errors,
    explain,
    fleet,
    implement,
    merge_queue,
    path_leases,
    pool,
    refs,
    run,
    steps,
    surroundings,
    triage,
    waiting,
    waits,
    work,
)
from domain import review as reviews
from domain.policy import ApprovalMode, NoChecks, RepositoryPolicy
from domain.run import HoldKind, Phase

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
NOW = START + timedelta(minutes=30)
REPO = refs.Repository(owner="acme", name="api")
ISSUE = REPO.issue(12)
HEAD = "3f2c1ab" + "0" * 33
NAMES = {step.name.lower(): step for step in steps.Step}


def change(**given: object) -> run.Change:
    facts = {"head_sha": HEAD, "files": ("a.py",), "published_at": START + timedelta(minutes=10)}
    return run.Change.model_validate({**facts, **given})


def green(result: checks.Result = checks.Result.GREEN) -> checks.Verdict:
    return checks.Verdict(head_sha=HEAD, result=result)


def reviewed() -> reviews.Review:
    return reviews.Review(head_sha=HEAD, verdict=reviews.Verdict.APPROVE, by="rules")


def state_at(step: steps.Step) -> run.State:
    """A state whose due step is `step`, reached the way a run reaches it."""
    state = run.State(issue=ISSUE, base_branch="main")
    opened: dict[str, object] = {"opened": True}
    triaged = opened | {"triage": triage.Triage()}
    claimed = triaged | {"claimed": True}
    worked = claimed | {"admitted": True, "order": None}
    pull = run.PullRequest(number=7, url="https://forge.test/acme/api/pull/7")
    published = worked | {"pull": pull, "change": change()}
    ready = published | {
        "pull": pull.model_copy(update={"ready": True}),
        "change": change(review=reviewed(), review_posted=True, ci=green()),
    }
    facts: dict[steps.Step, dict[str, object]] = {
        steps.Step.OPEN: {},
        steps.Step.TRIAGE: opened,
        steps.Step.CLAIM: triaged,
        steps.Step.AWAIT_DEPENDENCIES: claimed | {"triage": triage.Triage(depends_on=(3, 4))},
        steps.Step.AWAIT_DISPATCH: claimed | {"mode": ApprovalMode.REVIEW_ALL},
        steps.Step.ADMIT: claimed,
        steps.Step.IMPLEMENT: claimed | {"admitted": True},
        steps.Step.AWAIT_ANSWER: worked | {"question": agent.Question(id="toolu_1", tool="Bash", text="git push")},
        steps.Step.PUBLISH: worked,
        steps.Step.INSPECT: published | {"change": change(by_us=False, files=())},
        steps.Step.REVIEW: published,
        steps.Step.POST_REVIEW: published | {"change": change(review=reviewed())},
        steps.Step.AWAIT_CI: published | {"change": change(review=reviewed(), review_posted=True)},
        steps.Step.MARK_READY: ready | {"pull": pull},
        steps.Step.AWAIT_APPROVAL: ready,
        steps.Step.MERGE: ready | {"mode": ApprovalMode.FULL_AUTO},
        steps.Step.CLOSE: {"ending": run.Ending(phase=Phase.FAILED, reason="CI stayed red", failure_class="ci")},
        steps.Step.AWAIT_RELEASE: {"hold": run.Hold(kind=HoldKind.USER, by="ann", note="release day", since=START)},
        steps.Step.STOP: {"closed": True, "ending": run.Ending(phase=Phase.DONE, reason="merged")},
    }
    state = state.model_copy(update=facts[step])
    state.move(steps.PHASE_OF_STEP.get(step, state.phase), START)
    assert steps.next_step(state) is step
    return state


def told(state: run.State, around: surroundings.Surroundings | None = None) -> explain.Explanation:
    return explain.explain(state, NOW, around)


@pytest.mark.parametrize("name", NAMES)
def test_every_step_says_what_it_waits_for_and_what_to_do(name: str) -> None:
    state = state_at(NAMES[name])
    found = told(state)
    assert found.step is NAMES[name]
    assert found.waits_for
    assert found.ends_when
    assert found.since == START
    assert found.waited_seconds == 1800
    assert found.next_command.split()[:1] == ["fettle"]
    assert "{" not in found.waits_for + found.ends_when + found.next_command


MOVERS = {
    steps.Step.AWAIT_DEPENDENCIES: waiting.Mover.OTHER_RUNS,
    steps.Step.AWAIT_DISPATCH: waiting.Mover.PERSON,
    steps.Step.ADMIT: waiting.Mover.OTHER_RUNS,
    steps.Step.IMPLEMENT: waiting.Mover.AGENT,
    steps.Step.AWAIT_ANSWER: waiting.Mover.PERSON,
    steps.Step.AWAIT_CI: waiting.Mover.CI,
    steps.Step.AWAIT_APPROVAL: waiting.Mover.PERSON,
    steps.Step.AWAIT_RELEASE: waiting.Mover.PERSON,
    steps.Step.STOP: waiting.Mover.NOBODY,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_move_is_ours_unless_somebody_else_has_to_act(name: str) -> None:
    step = NAMES[name]
    assert told(state_at(step)).whose_move is MOVERS.get(step, waiting.Mover.FETTLE)


GATES = {HoldKind.DISPATCH_APPROVAL, HoldKind.MERGE_APPROVAL, HoldKind.ACTION_APPROVAL}
STANDING = [kind for kind in HoldKind if kind not in {*GATES, HoldKind.TAKEOVER}]


@pytest.mark.parametrize("kind", STANDING)
@pytest.mark.parametrize("step", [steps.Step.OPEN, steps.Step.IMPLEMENT, steps.Step.AWAIT_CI, steps.Step.MERGE])
def test_a_standing_hold_explains_itself_in_every_phase(kind: HoldKind, step: steps.Step) -> None:
    state = state_at(step)
    state.hold = run.Hold(kind=kind, by="ann", note="because of it", since=START + timedelta(minutes=20))
    found = told(state)
    assert found.step is steps.Step.AWAIT_RELEASE
    assert "because of it" in found.waits_for
    assert found.whose_move is waiting.Mover.PERSON
    assert found.next_command in {f"fettle release {ISSUE}", f"fettle retry {ISSUE}"}
    assert found.since == START + timedelta(minutes=20)
    assert "{" not in found.waits_for + found.ends_when + found.next_command


@pytest.mark.parametrize(
    ("kind", "gate"),
    [
        (HoldKind.DISPATCH_APPROVAL, steps.Step.AWAIT_DISPATCH),
        (HoldKind.MERGE_APPROVAL, steps.Step.AWAIT_APPROVAL),
        (HoldKind.ACTION_APPROVAL, steps.Step.AWAIT_ANSWER),
    ],
)
def test_an_approval_hold_is_explained_by_its_gate(kind: HoldKind, gate: steps.Step) -> None:
    state = state_at(gate)
    state.hold = run.Hold(kind=kind)
    assert told(state).step is gate


@pytest.mark.parametrize(
    ("phase", "verb"),
    [(Phase.DONE, "status"), (Phase.FAILED, "retry"), (Phase.CANCELLED, "retry"), (Phase.REJECTED, "retry")],
)
def test_an_ended_run_says_how_it_ended_and_how_to_start_again(phase: Phase, verb: str) -> None:
    state = run.State(issue=ISSUE, closed=True, ending=run.Ending(phase=phase, reason="the reason of it"))
    found = told(state)
    assert "the reason of it" in found.waits_for
    assert found.next_command == f"fettle {verb} {ISSUE}"
    assert found.whose_move is (waiting.Mover.NOBODY if phase is Phase.DONE else waiting.Mover.PERSON)


def test_the_merge_gate_names_the_head_and_the_pull_request() -> None:
    found = told(state_at(steps.Step.AWAIT_APPROVAL))
    assert found.next_command == f"fettle approve {ISSUE} --head {HEAD}"
    assert "https://forge.test/acme/api/pull/7" in found.waits_for


def test_a_gate_for_an_untested_commit_says_that_nothing_tested_it() -> None:
    state = state_at(steps.Step.MERGE)
    state.policy = RepositoryPolicy(no_checks=NoChecks.HOLD)
    assert state.change is not None
    state.change.ci = green(checks.Result.NONE)
    found = told(state)
    assert found.step is steps.Step.AWAIT_APPROVAL
    assert "no CI check has tested it" in found.waits_for


def test_ci_has_a_deadline_that_counts_from_the_push() -> None:
    state = state_at(steps.Step.AWAIT_CI)
    state.policy = RepositoryPolicy(ci_timeout_seconds=600)
    found = told(state)
    assert found.deadline == START + timedelta(minutes=20)
    assert found.overdue_by == timedelta(minutes=10)


def test_a_deadline_ahead_is_not_overdue() -> None:
    assert told(state_at(steps.Step.AWAIT_CI)).overdue_by is None


def test_dependencies_are_named_as_runs() -> None:
    found = told(state_at(steps.Step.AWAIT_DEPENDENCIES))
    assert "acme/api#3, acme/api#4" in found.waits_for
    assert found.next_command == "fettle explain acme/api#3"


# --- admission -----------------------------------------------------------------------------------------------------


def admission(**given: object) -> surroundings.Surroundings:
    waiting = (fleet.Waiting(run="issue/acme/api/9", order=1), fleet.Waiting(run=ISSUE.workflow_id, order=2))
    facts = {"repo": REPO, "settings": fleet.Settings(), "waiting": waiting, "max_in_flight": 1}
    return surroundings.Surroundings(repository=fleet.RepositoryState.model_validate({**facts, **given}))


def test_admission_names_the_runs_ahead_and_the_place_in_line() -> None:
    found = told(state_at(steps.Step.ADMIT), admission(running=("issue/acme/api/8",)))
    assert "1 of at most 1 in flight, it is number 2 of 2 in line" in found.waits_for
    assert found.ends_when == "one of acme/api#8 ends"
    assert found.whose_move is waiting.Mover.OTHER_RUNS


def test_admission_names_the_state_of_which_no_more_runs_may_be_in_flight() -> None:
    mine = fleet.Waiting(run=ISSUE.workflow_id, state="review", state_limit=1)
    states = {"issue/acme/api/8": "review", "issue/acme/api/7": "todo"}
    found = told(
        state_at(steps.Step.ADMIT), admission(waiting=(mine,), running=tuple(states), states=states, max_in_flight=9)
    )
    assert "1 of at most 1 in the state 'review' in flight" in found.waits_for
    assert found.ends_when == "one of acme/api#8 ends"


def leasing(number: int, order: int, **more: object) -> fleet.Waiting:
    facts = {"run": REPO.issue(number).workflow_id, "order": order, "max_collision": 0.25, "base_branch": "main"}
    return fleet.Waiting.model_validate({**facts, **more})


def test_who_may_not_pass_the_many_that_wait_for_files_is_told_so_and_not_that_it_waits_for_a_place() -> None:
    pair = path_leases.Pair(run="issue/acme/api/8", probability=0.5)
    known = path_leases.Outlook(compared=(pair.run,), collides=(pair,))
    held = [leasing(number, number, outlook=known) for number in range(20, 20 + path_leases.MOST_HELD_BACK)]
    line = (*held, leasing(ISSUE.number, 99))
    found = told(state_at(steps.Step.ADMIT), admission(waiting=line, running=(pair.run,), max_in_flight=99))
    assert "its turn in line, behind 10 runs that wait for the files of others" in found.waits_for
    assert found.ends_when == "one of acme/api#20, acme/api#21, acme/api#22, acme/api#23, acme/api#24, … waits no more"


def test_a_forecast_for_a_run_behind_is_not_what_a_run_waits_for() -> None:
    line = (leasing(ISSUE.number, 1, state="review", state_limit=1), leasing(9, 2))
    running = {"issue/acme/api/8": "review"}
    around = admission(waiting=line, running=tuple(running), states=running, max_in_flight=9)
    assert "1 of at most 1 in the state 'review' in flight" in told(state_at(steps.Step.ADMIT), around).waits_for


def test_a_paused_fleet_is_a_persons_move() -> None:
    found = told(state_at(steps.Step.ADMIT), admission(settings=fleet.Settings(paused=True)))
    assert found.whose_move is waiting.Mover.PERSON
    assert found.next_command == "fettle resume"


def test_a_fleet_that_does_not_answer_sends_to_the_doctor() -> None:
    assert told(state_at(steps.Step.ADMIT), admission(settings=None)).next_command == "fettle doctor"


# --- implementation --------------------------------------------------------------------------------------------------

LEASE = work.HostLease(host_id="host-1", queue="fettle-host/host-1")
CHILD = implement.State(run=ISSUE.workflow_id, issue=ISSUE)
PUSHED = work.Integration(outcome=work.IntegrationOutcome.PUSHED, head_sha=HEAD)
WORKTREE = work.Worktree(path="/w", base_sha=HEAD, head_sha=HEAD)
TURN = agent.TurnResult(outcome=agent.Outcome.FINISHED, session=agent.Session(backend="claude"))
ASKED = pool.BeginTurn(run=ISSUE.workflow_id, repo=ISSUE.repo)
GRANT = pool.Answer(verdict=pool.Verdict.GO, instance="dev-default", backend="claude")
POOLED = {"generation": 2, "lease": LEASE, "worktree": WORKTREE}
CHILDREN = {
    implement.Step.LOOK: {**POOLED, "look_first": True},
    implement.Step.RESERVE: {**POOLED},
    implement.Step.HAND_OVER: {**POOLED, "generation": 3, "taken_over_by": "ann"},
    implement.Step.AWAIT_HANDBACK: {**POOLED, "taken_over_by": "ann", "theirs": True},
    implement.Step.RECORD: {**POOLED, "handback": implement.Handback(by="ann")},
    implement.Step.SETTLE: {**POOLED, "turn_end": pool.EndTurn.failed(ASKED, GRANT, error_type="x")},
    implement.Step.AWAIT_RELEASE: {"held": True},
    implement.Step.CLAIM_HOST: {},
    implement.Step.PREPARE: {"lease": LEASE},
    implement.Step.TURN: {"lease": LEASE, "worktree": WORKTREE},
    implement.Step.INTEGRATE: {"lease": LEASE, "worktree": WORKTREE, "turn": TURN},
    implement.Step.VERIFY: {"lease": LEASE, "worktree": WORKTREE, "turn": TURN, "integration": PUSHED},
    implement.Step.STOP: {"ending": implement.Ending(outcome=implement.Outcome.READY)},
}


@pytest.mark.parametrize("step", list(implement.Step))
def test_every_step_of_the_implementation_is_explained(step: implement.Step) -> None:
    child = CHILD.model_copy(update=CHILDREN[step])
    assert implement.next_step(child) is step
    found = told(state_at(steps.Step.IMPLEMENT), surroundings.Surroundings(implementation=child))
    assert found.waits_for
    assert "{" not in found.waits_for + found.ends_when + found.next_command
    movers = {
        implement.Step.TURN: waiting.Mover.AGENT,
        implement.Step.AWAIT_RELEASE: waiting.Mover.PERSON,
        implement.Step.AWAIT_HANDBACK: waiting.Mover.PERSON,
        implement.Step.RESERVE: waiting.Mover.OTHER_RUNS,
    }
    assert found.whose_move is movers.get(step, waiting.Mover.FETTLE)


@pytest.mark.parametrize("reason", list(run.Reason))
def test_every_reason_for_work_has_words(reason: run.Reason) -> None:
    state = state_at(steps.Step.IMPLEMENT)
    state.order = run.WorkOrder(reason=reason)
    words = told(state).waits_for
    assert "repair" in words or "first implementation" in words or "a change a person asked for" in words


@pytest.mark.parametrize("more", [{}, {"generation": 3, "grant": GRANT}])
def test_a_takeover_that_is_not_at_its_safe_point_waits_for_the_agent(more: dict[str, object]) -> None:
    child = CHILD.model_copy(update={**POOLED, "taken_over_by": "ann", **more})
    found = told(state_at(steps.Step.IMPLEMENT), surroundings.Surroundings(implementation=child))
    assert found.whose_move is waiting.Mover.AGENT


def test_the_first_turn_has_a_deadline_and_a_later_one_has_none() -> None:
    state = state_at(steps.Step.IMPLEMENT)
    assert told(state).deadline == START + timedelta(seconds=state.policy.turn_seconds)
    later = CHILD.model_copy(update={**CHILDREN[implement.Step.TURN], "turns": 2})
    assert told(state, surroundings.Surroundings(implementation=later)).deadline is None


# --- the merge queue -------------------------------------------------------------------------------------------------


def entry(number: int) -> merge_queue.Entry:
    return merge_queue.Entry(run=REPO.issue(number).workflow_id, pull=REPO.pull(number + 100), head_sha=HEAD)


def queue(**given: object) -> surroundings.Surroundings:
    facts = {"repo": REPO, "branch": "main", **given}
    return surroundings.Surroundings(queue=merge_queue.State.model_validate(facts))


def test_a_queued_run_names_its_place_and_who_is_ahead() -> None:
    found = told(state_at(steps.Step.MERGE), queue(current=entry(8), entries=(entry(9), entry(12))))
    assert "number 2 in line behind acme/api#108" in found.waits_for
    assert found.whose_move is waiting.Mover.OTHER_RUNS


def test_a_candidate_that_is_tested_waits_for_ci() -> None:
    candidate = merge_queue.Candidate(state=merge_queue.CandidateState.TO_TEST, tested_sha="c0ffee123456")
    found = told(state_at(steps.Step.MERGE), queue(current=entry(12), candidate=candidate))
    assert found.waits_for == "CI on its merge candidate c0ffee123"
    assert found.whose_move is waiting.Mover.CI


def test_a_merge_under_way_waits_for_the_forge() -> None:
    state = state_at(steps.Step.MERGE)
    state.merge.cleared_sha = HEAD
    assert told(state).whose_move is waiting.Mover.FORGE


# --- calls that are tried again --------------------------------------------------------------------------------------


def pending(**given: object) -> surroundings.Surroundings:
    return surroundings.Surroundings(
        pending=(surroundings.PendingCall.model_validate({"activity": "poll_checks", **given}),)
    )


def test_a_call_in_retries_is_noted_with_its_failure_and_the_next_attempt() -> None:
    found = told(
        state_at(steps.Step.AWAIT_CI),
        pending(
            attempt=3,
            failure_type=errors.ForgeUnavailable.wire_type(),
            last_failure="no answer",
            next_attempt_at=NOW + timedelta(seconds=42),
        ),
    )
    assert found.notes == ("poll_checks is at attempt 3, the last one failed: no answer; the next one starts in 42 s",)


def test_a_poll_that_found_nothing_is_not_called_a_failure() -> None:
    around = pending(attempt=3, failure_type=errors.ChecksPending.wire_type(), last_failure="CI is running")
    found = told(state_at(steps.Step.AWAIT_CI), around)
    assert found.notes == ("poll_checks has looked 2 times: CI is running",)
    again = pending(attempt=2, failure_type=errors.ChecksPending.wire_type())
    assert told(state_at(steps.Step.AWAIT_CI), again).notes == ("poll_checks has looked 1 time: nothing new",)


def test_an_attempt_that_runs_is_told_apart_from_one_that_waits() -> None:
    found = told(state_at(steps.Step.AWAIT_CI), pending(attempt=2, last_failure="no answer", started=True))
    assert found.notes == ("poll_checks is at attempt 2, the last one failed: no answer; it runs now",)


def test_a_first_attempt_is_not_worth_a_note() -> None:
    assert told(state_at(steps.Step.AWAIT_CI), pending(attempt=1)).notes == ()


def test_a_clock_that_runs_behind_gives_no_negative_wait() -> None:
    assert explain.explain(state_at(steps.Step.OPEN), START - timedelta(seconds=5)).waited_seconds == 0


def test_a_call_that_a_person_decides_is_shown_whole_or_says_what_is_cut() -> None:
    state = run.State(issue=ISSUE, question=agent.Question(id="toolu_1", tool="Bash", text="x" * 4000 + "end"))
    whole = waits.wait_at(steps.Step.AWAIT_ANSWER, state, surroundings.Surroundings()).waits_for
    assert whole.endswith("end")
    state.question = agent.Question(id="toolu_1", tool="Bash", text="x" * 9000)
    cut = waits.wait_at(steps.Step.AWAIT_ANSWER, state, surroundings.Surroundings()).waits_for
    assert cut.endswith("more characters]")
    hold = steps.shown_hold(state, steps.Step.AWAIT_ANSWER)
    assert hold is not None
    assert hold.note.endswith("more characters]")
