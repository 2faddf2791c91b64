"""A spec becomes issues on a real server: proposed first, filed once, in an order in which they can be worked on."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio import client, exceptions
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from domain import breakdown, errors, triage, wire
from tests.workflows import breakdown_desk, installation, record, record_breakdown
from tests.workflows.breakdown_desk import REPO, Office


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[client.Client]:
    async with await WorkflowEnvironment.start_local(**installation.server()) as env:
        yield await installation.connect(env)


@pytest.fixture(scope="module")
async def working(
    temporal: client.Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Office, Path]]:
    """The workers, and the script of their judge."""
    script = tmp_path_factory.mktemp("judge") / "advice.json"
    async with breakdown_desk.opened(temporal, script) as running:
        yield running, script


@pytest.fixture
def office(working: tuple[Office, Path]) -> Office:
    """No judge is configured."""
    running, _ = working
    running.desk.clear()
    running.choose_judge("none")
    running.desk.add("An older issue")
    return running


@pytest.fixture
def advised(working: tuple[Office, Path]) -> Office:
    """The judge answers."""
    running, script = working
    running.desk.clear()
    running.choose_judge("scripted")
    proposals = [
        {"title": "Store the invoices", "body": "One row each.", "labels": ["BUG", "fettle"]},
        {"title": "Render them", "body": "As PDF.\nDepends on #77", "depends_on": [1, 2]},
    ]
    _advise(script, {"issues": proposals, "left_out": ["the history"]})
    return running


@pytest.fixture
def script(working: tuple[Office, Path]) -> Path:
    return working[1]


def _advise(script: Path, answer: object) -> None:
    script.write_text(json.dumps({"judge": {"breakdown": answer}}))


def _standings(outcome: breakdown.Outcome) -> list[tuple[str, str]]:
    assert outcome.plan is not None
    return [(item.title, item.standing.value) for item in outcome.plan.items]


async def test_a_dry_run_proposes_and_writes_nothing(office: Office) -> None:
    outcome = await office.run()
    assert _standings(outcome) == [
        ("Store the invoices", "new"),
        ("Render an invoice as PDF", "new"),
        ("Send it to the login of the customer", "new"),
    ]
    assert outcome.draft is not None
    assert (outcome.draft.by, outcome.applied) == ("rules", False)
    assert (office.desk.calls["file_issue"], office.desk.comments) == (0, {})


async def test_issues_are_filed_in_order_and_a_run_reads_their_dependencies(office: Office) -> None:
    outcome = await office.run(apply=True)
    assert [issue.title for issue in office.desk.filed] == [title for title, _ in _standings(outcome)]
    waits = [triage.by_rules(i.ref, i.body, i.labels).depends_on for i in office.desk.filed]
    assert waits == [(), (2,), (1, 3)]
    assert [issue.labels for issue in office.desk.filed] == [(), (), ("Security",)]
    assert outcome.plan is not None
    assert [(item.number, item.made) for item in outcome.plan.items] == [(2, True), (3, True), (4, True)]


async def test_a_second_breakdown_files_nothing_again(office: Office) -> None:
    await office.run(apply=True)
    again = await office.run(apply=True)
    assert office.desk.calls["file_issue"] == 3
    assert {standing for _, standing in _standings(again)} == {"exists"}


async def test_a_grown_spec_files_what_is_new_and_names_what_is_gone(office: Office) -> None:
    await office.run(apply=True)
    grown = "- [ ] Archive old invoices\n  Depends on: store the invoices\n- [ ] Store the invoices\n"
    outcome = await office.run(grown, apply=True)
    assert office.desk.filed[-1].title == "Archive old invoices"
    assert "Depends on #2" in office.desk.filed[-1].body
    assert outcome.plan is not None
    assert outcome.plan.left_over == (3, 4)


async def test_the_limit_is_kept_and_the_next_breakdown_goes_on(office: Office) -> None:
    first = await office.run(apply=True, most=2)
    assert [standing for _, standing in _standings(first)] == ["exists", "exists", "later"]
    assert len(office.desk.filed) == 2
    await office.run(apply=True, most=2)
    assert len(office.desk.filed) == 3


async def test_an_issue_whose_answer_was_lost_is_not_filed_twice(office: Office) -> None:
    office.desk.after.append(errors.ForgeUnavailable("could not file: 502"))
    office.desk.before.append(errors.ForgeUnavailable("could not file: connection refused"))
    outcome = await office.run(apply=True)
    assert len(office.desk.filed) == 3
    assert office.desk.calls["file_issue"] == 5
    assert outcome.plan is not None
    assert [item.made for item in outcome.plan.items] == [False, True, True]


async def test_a_cancelled_breakdown_stops_between_two_issues_and_is_taken_up_again(office: Office) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    office.desk.on_filing = wait
    handle = await office.start(apply=True)
    await reached.wait()
    await handle.cancel(reason="cancelled by ann: not today")
    go_on.set()
    with pytest.raises(client.WorkflowFailureError) as stopped:
        await handle.result()
    assert isinstance(stopped.value.cause, exceptions.CancelledError)
    assert len(office.desk.filed) == 1
    snapshot = await handle.query(wire.SNAPSHOT, result_type=breakdown.Outcome)
    assert snapshot.draft is not None
    await office.run(apply=True, draft=snapshot.draft)
    assert len(office.desk.filed) == 3


async def test_the_checklist_is_one_comment_on_the_tracking_issue(office: Office) -> None:
    await office.run(tracking=1)
    proposed = dict(office.desk.comments)
    outcome = await office.run(tracking=1, apply=True)
    assert list(proposed) == list(office.desk.comments) == [(1, "breakdown:spec")]
    assert "nothing is filed yet" in proposed[1, "breakdown:spec"]
    assert "- [ ] #3 Render an invoice as PDF (after “Store the invoices”)" in office.desk.comments[1, "breakdown:spec"]
    assert outcome.checklist_url == "https://forge.test/c1"


async def test_a_model_proposes_and_rules_decide(advised: Office) -> None:
    outcome = await advised.run(apply=True)
    assert outcome.draft is not None
    assert (outcome.draft.by, outcome.draft.left_out) == ("scripted", ("the history",))
    store, render = advised.desk.filed
    assert (store.labels, render.labels) == (("bug",), ())
    assert triage.by_rules(render.ref, render.body, ()).depends_on == (1,)
    assert outcome.plan is not None
    warnings = "\n".join(outcome.plan.warnings)
    assert "label 'fettle' of 'Store the invoices' steers runs" in warnings
    assert "'Render them' was to depend on 2" in warnings
    assert "'Render them' depends on #77, which does not exist" in warnings


async def test_what_was_shown_is_what_is_filed_and_the_model_is_not_asked_again(advised: Office, script: Path) -> None:
    shown = await advised.run()
    _advise(script, {"issues": [{"title": "Other"}]})
    await advised.run(apply=True, draft=shown.draft)
    assert [issue.title for issue in advised.desk.filed] == ["Store the invoices", "Render them"]


async def test_a_draft_of_another_text_is_not_used(advised: Office) -> None:
    shown = await advised.run()
    outcome = await advised.run("- [ ] Something else\n", draft=shown.draft)
    assert outcome.draft is not None
    assert outcome.draft.digest == breakdown.digest("- [ ] Something else\n")


@pytest.mark.parametrize("answer", [None, {"issues": [{"title": " "}]}])
async def test_rules_stand_in_for_a_model_without_an_answer_and_say_so(
    advised: Office, script: Path, answer: object
) -> None:
    _advise(script, answer)
    outcome = await advised.run()
    assert outcome.draft is not None
    assert outcome.draft.by == "rules"
    assert "scripted gave no breakdown" in outcome.draft.warnings[0]
    assert len(outcome.draft.items) == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"text": "- [ ] a\n  Depends on: acme/other#4\n"}, "acme/other#4, the breakdown is of acme/plans"),
        ({"text": "Prose."}, "names no work"),
        ({"labels": ("moon",)}, "has no such label"),
        ({"tracking": 99}, "there is no such issue"),
    ],
)
async def test_a_refusal_is_the_result_and_nothing_is_written(
    office: Office, more: dict[str, object], words: str
) -> None:
    outcome = await office.run(apply=True, **more)  # type: ignore[arg-type] # as the table gives them
    assert words in outcome.refusal
    assert office.desk.filed == []


async def test_an_archived_repository_is_refused(office: Office) -> None:
    office.desk.archived = True
    assert "it is archived" in (await office.run(apply=True)).refusal


async def test_a_repository_that_is_not_there_fails_the_breakdown_with_the_forges_words(office: Office) -> None:
    request = breakdown.Request(repo=REPO.model_copy(update={"name": "gone"}), spec="SPEC.md", text="- [ ] a\n")
    with pytest.raises(client.WorkflowFailureError) as failed:
        await office.temporal.execute_workflow(
            wire.BREAKDOWN_WORKFLOW, request, id="breakdown/acme/gone/spec", task_queue=wire.CONTROL_QUEUE
        )
    assert "could not read repository acme/gone" in str(failed.value.cause.__cause__)


async def test_a_secret_that_this_process_holds_does_not_reach_the_forge(office: Office) -> None:
    await office.run("- [ ] Rotate held-secret-value\n  It is held-secret-value.\n", apply=True, tracking=1)
    written = [i.title + i.body for i in office.desk.filed] + list(office.desk.comments.values())
    assert len(written) == 2
    assert not [text for text in written if "held-secret-value" in text]


async def test_labels_that_a_person_asked_for_are_set_also_those_that_start_runs(office: Office) -> None:
    await office.run(apply=True, labels=("FETTLE",))
    assert all("fettle" in issue.labels for issue in office.desk.filed)


async def test_the_history_names_every_issue(office: Office) -> None:
    handle = await office.start(apply=True)
    await handle.result()
    history = await handle.fetch_history()
    scheduled = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    summaries = [event.user_metadata.summary.data.decode() for event in scheduled]
    assert '"file: Render an invoice as PDF"' in summaries
    assert len(history.events) < 60


def test_every_scenario_is_recorded_and_holds_what_its_name_says() -> None:
    recorded = {path.stem: path.read_text() for path in (record.FOLDER / "breakdown").glob("*.json")}
    assert set(recorded) >= set(record_breakdown.SCENARIOS)
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED" in recorded["cancelled-while-filing"]
    assert wire.JUDGE_BREAKDOWN in recorded["filed-as-a-model-proposed"]
    assert wire.FILE_ISSUE not in recorded["proposed-by-rules"]
