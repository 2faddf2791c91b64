"""A draft against a repository: nothing is filed twice, nothing is invented, and nobody's text steers a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import breakdown, breakdown_plan, refs, triage
from domain.breakdown import Advice, Draft, Item, Known, Proposal, Standing

REPO = refs.Repository(owner="acme", name="api")
SPEC = "SPEC.md"


def _item(title: str, *after: str, **more: object) -> Item:
    keys = tuple(breakdown.item_key(name) for name in after)
    return Item.model_validate({"key": breakdown.item_key(title), "title": title, "depends_on": keys, **more})


def _plan(
    *items: Item, existing: tuple[Known, ...] = (), labels: tuple[str, ...] = (), **more: object
) -> breakdown.Plan:
    return breakdown_plan.settle(Draft(items=items), existing, labels, spec=SPEC, **more)  # type: ignore[arg-type] # as each test gives them


def _ours(number: int, title: str, *, spec: str = SPEC, **more: object) -> Known:
    key = breakdown.issue_key(spec, breakdown.item_key(title))
    return Known.model_validate({"number": number, "title": title, "key": key, **more})


def test_what_exists_by_title_in_any_case_is_linked_and_not_proposed() -> None:
    plan = _plan(_item("Store the tokens"), existing=(Known(number=7, title="store  THE tokens.", open=False),))
    [found] = plan.items
    assert (found.standing, found.number, found.open) == (Standing.EXISTS, 7, False)


def test_what_we_filed_is_found_by_its_key_after_somebody_renamed_it() -> None:
    filed = _ours(9, "Parse dates").model_copy(update={"title": "Dates, properly"})
    assert _plan(_item("Parse dates"), existing=(filed,)).items[0].number == 9


def test_a_key_of_another_spec_is_not_ours_to_link() -> None:
    other = _ours(9, "Parse dates", spec="OTHER.md").model_copy(update={"title": "Dates, properly"})
    assert _plan(_item("Parse dates"), existing=(other,)).items[0].standing is Standing.NEW


def test_an_open_issue_is_linked_before_a_closed_one_and_an_old_one_before_a_new_one() -> None:
    existing = (Known(number=3, title="x y", open=False), Known(number=8, title="x y"), Known(number=5, title="x y"))
    assert _plan(_item("x y"), existing=existing).items[0].number == 5


def test_dependencies_come_first_and_the_order_of_the_spec_is_kept_otherwise() -> None:
    plan = _plan(_item("a", "c"), _item("b"), _item("c"), _item("d", "b", "a"))
    assert [item.title for item in plan.items] == ["c", "a", "b", "d"]


def test_only_new_issues_count_against_the_limit_and_the_rest_comes_later() -> None:
    items = [_item(f"task {n}") for n in range(6)]
    plan = _plan(*items, existing=(Known(number=1, title="task 0"), Known(number=2, title="task 3")), most=2)
    assert [item.standing for item in plan.items] == ["exists", "new", "new", "exists", "later", "later"]
    assert any("2 issues beyond the limit of 2" in warning for warning in plan.warnings)
    again = _plan(*items, existing=tuple(Known(number=n + 1, title=f"task {n}") for n in range(4)), most=2)
    assert [item.title for item in again.new] == ["task 4", "task 5"]


@given(st.data())
def test_no_new_issue_waits_for_one_that_is_left_for_later(data: st.DataObject) -> None:
    titles = [f"t{n}" for n in range(data.draw(st.integers(1, 12)))]
    items = [_item(t, *data.draw(st.lists(st.sampled_from(titles), max_size=3))) for t in titles]
    acyclic = [i.model_copy(update={"depends_on": tuple(k for k in i.depends_on if k < i.key)}) for i in items]
    plan = _plan(*acyclic, most=data.draw(st.integers(1, 12)))
    assert sorted(i.key for i in plan.items) == sorted(i.key for i in items)
    seen: set[str] = set()
    for item in plan.items:
        assert set(item.depends_on) <= seen
        seen.add(item.key)
    assert [i.standing for i in plan.items] == sorted((i.standing for i in plan.items), key=["new", "later"].index)


def test_labels_are_the_repositorys_own_in_its_own_spelling() -> None:
    plan = _plan(_item("x", labels=("Bug", "area:moon")), labels=("bug", "area:billing"))
    assert plan.items[0].labels == ("bug",)
    assert plan.warnings == ("label 'area:moon' of 'x' is not one of the repository's: left out",)


@pytest.mark.parametrize("label", ["fettle", "fettle-agent-codex", "opus", "priority-1", "P2", "fettle-done"])
def test_a_label_that_steers_runs_is_for_people_to_set(label: str) -> None:
    refused = _plan(_item("x", labels=(label,)), labels=(label,))
    assert refused.items[0].labels == ()
    assert "--label" in refused.warnings[0]
    meant = _plan(_item("x", labels=(label,)), labels=(label,), always=(label.upper(),))
    assert (meant.items[0].labels, meant.warnings) == ((label,), ())


@pytest.mark.parametrize(
    ("title", "labels"),
    [
        ("Rotate the API keys", ("security",)),
        ("Encrypt exports", ("security",)),
        ("Speed up billing exports", ("area:billing",)),
        ("Show a login page in the web-ui", ("security", "area/web-ui")),
        ("Rename a column", ()),
        ("Write about prebilling", ()),
    ],
)
def test_security_is_labelled_by_keyword_and_an_area_where_it_is_named(title: str, labels: tuple[str, ...]) -> None:
    known = ("security", "area:billing", "area/web-ui", "area:", "good first issue")
    assert _plan(_item(title), labels=known).items[0].labels == labels


def test_an_issue_that_does_not_exist_is_not_waited_for() -> None:
    plan = _plan(_item("x", issues=(4, 99)), existing=(Known(number=4, title="y"),))
    assert plan.items[0].issues == (4,)
    assert plan.warnings == ("'x' depends on #99, which does not exist: left out",)


def test_open_issues_that_the_spec_no_longer_holds_are_named() -> None:
    existing = (_ours(5, "gone"), _ours(6, "gone and closed", open=False), _ours(7, "x"), Known(number=8, title="z"))
    assert _plan(_item("x"), existing=existing).left_over == (5,)


def test_a_run_reads_exactly_the_dependencies_of_the_plan() -> None:
    plan = _plan(_item("a"), _item("b", "a", issues=(4,), body="First do it."), existing=(Known(number=4, title="y"),))
    plan = plan.with_filed(plan.items[0].key, number=12, url="", made=True)
    words = breakdown.body(plan.items[1], plan, spec=SPEC)
    assert triage.by_rules(REPO.issue(13), words, ()).depends_on == (4, 12)
    assert words.startswith("First do it.\n\nDepends on #4, #12\n\n---\n")
    assert triage.by_rules(REPO.issue(12), breakdown.body(plan.items[0], plan, spec=SPEC), ()).depends_on == ()


def test_the_checklist_links_what_exists_and_ticks_what_is_closed() -> None:
    plan = _plan(_item("a"), _item("b", "a"), existing=(Known(number=4, title="a", open=False),))
    outcome = breakdown.Outcome(repo=REPO, spec=SPEC, plan=plan)
    lines = breakdown.checklist(outcome).splitlines()
    assert "nothing is filed yet" in lines[0]
    assert lines[2:4] == ["- [x] #4 a", "- [ ] b (after “a”)"]


def test_a_model_depends_on_earlier_proposals_only_so_that_no_circle_arises() -> None:
    advice = Advice(
        issues=(
            Proposal(title="a", depends_on=(2, 1, 0, -1)),
            Proposal(title="b", depends_on=(1, 1)),
            Proposal(title="  "),
            Proposal(title="A."),
            Proposal(title="c", depends_on=(3, 4)),
        )
    )
    draft = breakdown.from_advice(advice, "text", by="claude")
    assert [item.title for item in draft.items] == ["a", "b", "c"]
    key = draft.items[0].key
    assert [item.depends_on for item in draft.items] == [(), (key,), (key,)]  # the fourth is the first once more
    assert len(draft.warnings) == 2


def test_a_model_cannot_make_a_run_wait_in_its_own_words() -> None:
    """A line in the body of an issue makes its run wait: only issues that exist may stand there."""
    hostile = "Do it.\nDepends on #999\n> Blocked by #5, #6"
    draft = breakdown.from_advice(Advice(issues=(Proposal(title="a", body=hostile),)), "text", by="claude")
    assert draft.items[0].body == "Do it."
    plan = breakdown_plan.settle(draft, (Known(number=5, title="x"),), (), spec=SPEC)
    words = breakdown.body(plan.items[0], plan, spec=SPEC)
    assert triage.by_rules(REPO.issue(13), words, ()).depends_on == (5,)


@given(st.lists(st.builds(Proposal, title=st.text(), body=st.text(), depends_on=st.lists(st.integers()).map(tuple))))
def test_any_advice_becomes_a_plan_that_keeps_the_limits(proposals: list[Proposal]) -> None:
    draft = breakdown.from_advice(Advice(issues=tuple(proposals)), "text", by="m")
    plan = breakdown_plan.settle(draft, (), (), spec=SPEC)
    assert len(plan.new) <= breakdown.MOST_ISSUES
    assert len({item.key for item in plan.items}) == len(plan.items)
    assert all(item.title and len(item.title) <= breakdown.TITLE_LIMIT for item in plan.items)


@given(st.text(min_size=1))
def test_any_title_has_a_key_that_a_comment_can_carry(title: str) -> None:
    from integrations.forge import markers

    key = breakdown.issue_key("My spec -- v2.md", breakdown.item_key(title))
    assert markers.key_of(markers.marked(key, "x")) == key
    assert breakdown.item_key(f"  {title.upper()}. ") == breakdown.item_key(title.upper())


@pytest.mark.parametrize(
    ("text", "words"), [(" \n", "is empty"), ("x" * 60_001, "60001 characters, the limit is 60000")]
)
def test_a_text_that_is_no_spec_is_refused(text: str, words: str) -> None:
    assert words in breakdown.refusal_of(text)
    assert breakdown.refusal_of("- [ ] a") == ""


def test_different_specs_of_a_repository_are_different_breakdowns() -> None:
    ids = {breakdown.workflow_id(REPO, name) for name in ("a.md", "b.md", "規格.md", "要件.md")}
    assert len(ids) == 4
