"""What a repository's file may decide: which issues it means, and how far it can change the operator's policy."""

import itertools

import pytest

from domain import refs, wire
from domain.agent import Autonomy, McpServer
from domain.forge import Issue
from domain.hooks import Hooks
from domain.policy import ApprovalMode, MergeMethod, RepositoryPolicy, effective, mode_of_run
from domain.workflow_policy import Agent, Gates, Sandbox, Tracker, Workflow, confined_enough

ISSUE = refs.Repository(owner="acme", name="api").issue(7)


def issue(*labels: str, assignees: tuple[str, ...] = (), is_open: bool = True) -> Issue:
    return Issue(ref=ISSUE, labels=labels, assignees=assignees, open=is_open)


def test_every_label_is_asked_for_whatever_its_case() -> None:
    tracker = Tracker(labels=("Ready", "backend"))
    assert tracker.why_not(issue("ready", "BACKEND", "more"), "me") == ""
    assert "lacks the label 'backend'" in tracker.why_not(issue("ready"), "me")


def test_the_label_that_starts_runs_may_be_gone_by_now() -> None:
    """The claim takes it off; a run that is under way would end itself."""
    assert Tracker(labels=(wire.LABEL_TRIGGER,)).why_not(issue(wire.LABEL_IN_PROGRESS), "me") == ""


def test_an_excluded_label_keeps_an_issue_out_but_not_the_one_of_the_claim() -> None:
    tracker = Tracker(exclude_labels=("blocked", wire.LABEL_IN_PROGRESS))
    assert "carries the label 'blocked'" in tracker.why_not(issue("Blocked"), "me")
    assert tracker.why_not(issue(wire.LABEL_IN_PROGRESS), "me") == ""


def test_an_assignee_is_compared_without_case_and_me_is_fettle_itself() -> None:
    assert Tracker(assignee="Ada").why_not(issue(assignees=("bob", "ada")), "me") == ""
    assert "not assigned to ada" in Tracker(assignee="ada").why_not(issue(), "me")
    assert Tracker(assignee="@me").why_not(issue(assignees=("fettle-bot",)), "fettle-bot") == ""
    assert "not assigned to fettle-bot" in Tracker(assignee="@me").why_not(issue(assignees=("ada",)), "fettle-bot")


@pytest.mark.parametrize(
    ("labels", "is_open", "state"),
    [
        (("bug", "In  Progress"), True, "in progress"),
        (("status: In Progress",), True, "in progress"),
        (("state:review",), True, "review"),
        (("unknown",), True, "open"),
        (("in progress",), False, "closed"),
    ],
)
def test_a_label_says_the_state_more_exactly_than_the_forge(labels: tuple[str, ...], is_open: bool, state: str) -> None:
    tracker = Tracker(active_states=("in progress",), state_limits={"review": 1})
    assert tracker.state_of(labels, is_open=is_open) == state


def test_only_active_states_are_worked_on() -> None:
    tracker = Tracker(active_states=("todo", "in progress"), terminal_states=("done",))
    assert tracker.why_not(issue("todo"), "me") == ""
    assert "its state is 'open'" in tracker.why_not(issue("bug"), "me")
    assert "one of tracker.terminal_states" in tracker.why_not(issue("Done"), "me")


def test_what_the_operator_has_not_set_is_the_files_to_say() -> None:
    server = McpServer(name="browser", command="npx")
    found = effective(
        RepositoryPolicy(),
        Workflow(
            agent=Agent(
                backend="codex", model="m", max_concurrent=9, max_turns=7, turn_seconds=9000, silence_seconds=700,
                autonomy=Autonomy.EDIT, allowed_tools=("Read",), ask_tools=("Bash(git push*)",), mcp_servers=(server,),
            ),
            hooks=Hooks(before_run="make deps"),
            gates=Gates(verify_command="make test", verify_timeout_seconds=10, merge_method="squash"),
            sandbox=Sandbox(level="bubblewrap", egress=("a.example.com",)),
            tracker=Tracker(state_limits={"todo": 2}),
        ),
    )  # fmt: skip
    assert (found.agent, found.model, found.max_in_flight, found.max_turns) == ("codex", "m", 9, 7)
    assert (found.turn_seconds, found.silence_seconds) == (9000, 700)
    assert (found.autonomy, found.allowed_tools, found.ask_tools) == (Autonomy.EDIT, ("Read",), ("Bash(git push*)",))
    assert (found.mcp_servers, found.hooks.before_run) == ((server,), "make deps")
    assert (found.verify_command, found.verify_timeout_seconds) == ("make test", 10)
    assert found.merge_method is MergeMethod.SQUASH
    assert (found.sandbox_level, found.egress, found.state_limits) == ("bubblewrap", ("a.example.com",), {"todo": 2})
    assert found.workflow is not None


def test_what_the_operator_has_set_is_only_ever_tightened() -> None:
    operator = RepositoryPolicy(
        agent="claude", max_in_flight=2, turn_seconds=600, max_turns=3, verify_command="make check",
        autonomy=Autonomy.PLAN, ask_tools=("Bash",), egress=("a.example.com",), state_limits={"todo": 1},
        hooks=Hooks(after_run="true"),
    )  # fmt: skip
    greedy = Workflow(
        agent=Agent(
            backend="codex", max_concurrent=50, turn_seconds=80000, max_turns=90,
            autonomy=Autonomy.FULL, ask_tools=("Edit",),
        ),
        gates=Gates(verify_command="true"),
        sandbox=Sandbox(egress=("a.example.com", "evil.example.com")),
        tracker=Tracker(state_limits={"todo": 9}),
        hooks=Hooks(before_run="curl evil"),
    )  # fmt: skip
    found = effective(operator, greedy)
    assert (found.agent, found.max_in_flight, found.turn_seconds, found.max_turns) == ("claude", 2, 600, 3)
    assert (found.verify_command, found.autonomy) == ("make check", Autonomy.PLAN)
    assert found.ask_tools == ("Bash", "Edit")
    assert found.egress == ("a.example.com",)
    assert found.state_limits == {"todo": 1}
    assert found.hooks == Hooks(after_run="true")
    modest = effective(operator, Workflow(agent=Agent(max_concurrent=1, turn_seconds=60)))
    assert (modest.max_in_flight, modest.turn_seconds) == (1, 60)


def test_a_setting_that_was_emptied_is_the_files_again() -> None:
    assert (
        effective(RepositoryPolicy(verify_command=""), Workflow(gates=Gates(verify_command="x"))).verify_command == "x"
    )


def test_without_a_file_the_policy_is_the_operators() -> None:
    operator = RepositoryPolicy(max_in_flight=2)
    assert effective(operator, None) == operator
    assert effective(operator, Workflow()) == operator.model_copy(update={"workflow": Workflow()})


def test_nothing_that_protects_the_host_or_money_is_the_files_to_say() -> None:
    """Every field of the policy is named here, so that a new one is thought about."""
    everything = Workflow(
        agent=Agent(backend="codex", model="m", max_concurrent=1, max_turns=1, turn_seconds=1, silence_seconds=1,
                    autonomy=Autonomy.EDIT, allowed_tools=("a",), ask_tools=("b",),
                    mcp_servers=(McpServer(name="n", command="c"),)),
        hooks=Hooks(before_run="x"),
        gates=Gates(verify_command="x", verify_timeout_seconds=1, approval_mode="review-all", merge_method="squash"),
        sandbox=Sandbox(level="user", egress=("a.example.com",)),
        tracker=Tracker(state_limits={"x": 1}),
    )  # fmt: skip
    before = RepositoryPolicy()
    after = effective(before, everything)
    same = {key for key in RepositoryPolicy.model_fields if getattr(after, key) == getattr(before, key)}
    assert same == {
        *("allowed_authors", "base_branch", "budgets", "check_registration_seconds", "ci_timeout_seconds"),
        *("escalation_model", "fallback_agents", "ignored_checks", "no_checks", "trust_repository_settings"),
        *("workflow_file", "approval_mode", "max_collision"),
    }  # the approval mode is raised for the run by `mode_of_run`


@pytest.mark.parametrize(("fleet", "wished"), list(itertools.product(ApprovalMode, ApprovalMode)))
def test_a_file_can_ask_for_more_of_a_person_never_for_less(fleet: ApprovalMode, wished: ApprovalMode) -> None:
    order = list(ApprovalMode)
    policy = effective(RepositoryPolicy(), Workflow(gates=Gates(approval_mode=wished)))
    assert mode_of_run(policy, fleet) is order[max(order.index(fleet), order.index(wished))]
    set_by_operator = effective(RepositoryPolicy(approval_mode=fleet), Workflow(gates=Gates(approval_mode=wished)))
    assert mode_of_run(set_by_operator, ApprovalMode.FULL_AUTO) is mode_of_run(policy, fleet)


def test_the_snapshot_of_a_run_survives_its_history() -> None:
    policy = effective(RepositoryPolicy(), Workflow(prompt="Do {{ issue.title }}", hooks=Hooks(before_run="x")))
    assert RepositoryPolicy.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize(
    ("level", "least", "enough"),
    [
        ("none", "", True),
        ("none", "user", False),
        ("user", "user", True),
        ("user", "bubblewrap", False),
        ("bubblewrap", "container", True),
        ("tomorrow", "user", False),
        ("bubblewrap", "tomorrow", False),
    ],
)
def test_a_run_is_not_taken_by_a_host_that_confines_less_than_it_asks(level: str, least: str, enough: bool) -> None:
    assert confined_enough(level, least) is enough


def test_a_model_of_an_agent_that_the_operator_does_not_allow_is_not_taken() -> None:
    file = Workflow(agent=Agent(backend="codex", model="gpt-5"))
    assert effective(RepositoryPolicy(agent="claude"), file).model == ""
    assert effective(RepositoryPolicy(agent="codex"), file).model == "gpt-5"
    assert effective(RepositoryPolicy(), file).model == "gpt-5"
    assert effective(RepositoryPolicy(agent="claude"), Workflow(agent=Agent(model="opus"))).model == "opus"


def test_a_file_may_ask_for_more_confinement_and_less_autonomy_than_the_operator() -> None:
    file = Workflow(agent=Agent(autonomy=Autonomy.PLAN), sandbox=Sandbox(level="bubblewrap"))
    found = effective(RepositoryPolicy(autonomy=Autonomy.FULL, sandbox_level="user"), file)
    assert (found.autonomy, found.sandbox_level) == (Autonomy.PLAN, "bubblewrap")
    loose = Workflow(agent=Agent(autonomy=Autonomy.FULL), sandbox=Sandbox(level="user"))
    found = effective(RepositoryPolicy(autonomy=Autonomy.EDIT, sandbox_level="bubblewrap"), loose)
    assert (found.autonomy, found.sandbox_level) == (Autonomy.EDIT, "bubblewrap")
