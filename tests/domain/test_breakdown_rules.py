"""Reading a spec without a model: the rule in the module's docstring, sentence by sentence."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import breakdown, breakdown_rules, errors, refs

REPO = refs.Repository(owner="acme", name="api")


def _draft(text: str) -> breakdown.Draft:
    return breakdown_rules.draft(text, REPO)


def _titles(text: str) -> list[str]:
    return [item.title for item in _draft(text).items]


def _refusal(text: str) -> str:
    with pytest.raises(errors.Refused) as refused:
        _draft(text)
    return str(refused.value)


CHECKLIST = """# Billing

Why we do this.

## Storage
- [ ] **Keep** the `invoices` table
  It has one row an invoice.

  - [ ] an index on the date
  Depends on: #12
- [x] Choose a database
- [ ] Write a [migration](docs/m.md)
  Depends on: keep the invoices table; `Render it`
  Labels: storage, "good first issue"

Text beside the list.

## Output
1. [ ] Render it
"""


def test_unticked_checkboxes_are_the_issues_wherever_they_stand() -> None:
    draft = _draft(CHECKLIST)
    assert [item.title for item in draft.items] == ["Keep the invoices table", "Write a migration", "Render it"]
    assert draft.left_out == ("Choose a database (done)",)
    assert draft.by == "rules"


def test_what_stands_below_a_checkbox_is_its_text_with_the_section_it_is_part_of() -> None:
    table, migration, rendering = _draft(CHECKLIST).items
    assert table.body == "Part of “Storage”.\n\nIt has one row an invoice.\n\n- [ ] an index on the date"
    assert migration.body == "Part of “Storage”."
    assert rendering.body == "Part of “Output”."


def test_dependencies_name_items_by_title_and_issues_by_number() -> None:
    table, migration, rendering = _draft(CHECKLIST).items
    assert (table.depends_on, table.issues) == ((), (12,))
    assert migration.depends_on == (table.key, rendering.key)
    assert migration.labels == ("storage", "good first issue")


def test_sections_are_the_issues_where_there_are_no_checkboxes() -> None:
    text = """# A plan
## Background
It was bad.
## 1. Store tokens
Encrypted.
### Details
- a list
## Step 2: Rotate them
Depends on #4
## Non-goals
"""
    draft = _draft(text)
    assert [item.title for item in draft.items] == ["Store tokens", "Rotate them"]
    assert draft.items[0].body == "Encrypted.\n### Details\n- a list"
    assert (draft.items[1].issues, draft.items[1].body) == ((4,), "")
    assert draft.left_out == ("Background", "Non-goals")


def test_a_lone_title_is_no_section_but_a_lone_section_is() -> None:
    assert _titles("# Plan\n- one\n- two\n") == ["one", "two"]
    assert _titles("# Plan\n## Do it\n- one\n- two\n") == ["Do it"]


def test_list_items_are_the_issues_where_there_is_nothing_else() -> None:
    text = "We want:\n\n- Faster starts\n  and a test\n* Fewer words\n\nThanks.\n\n1. One more\n"
    draft = _draft(text)
    assert [item.title for item in draft.items] == ["Faster starts", "Fewer words", "One more"]
    assert draft.items[0].body == "and a test"


def test_code_blocks_are_never_read() -> None:
    text = "## Do it\n```\n# no heading\n- [ ] no task\nDepends on: nothing\nLabels: x\n~~~\n```\n## And this\n"
    first, second = _draft(text).items
    assert (first.title, second.title) == ("Do it", "And this")
    assert "- [ ] no task" in first.body
    assert first.labels == ()
    assert first.depends_on == ()


def test_a_name_that_is_no_item_is_told_and_not_waited_for() -> None:
    draft = _draft("- [ ] a\n  Depends on: the moon\n- [ ] b\n")
    assert draft.items[0].depends_on == ()
    assert draft.warnings == ("'a' depends on 'the moon', which is no issue of this spec",)


def test_the_same_title_twice_is_one_issue() -> None:
    draft = _draft("- [ ] Do it\n- [ ] do it.\n- [ ] b\n  Depends on: DO IT\n")
    assert [item.title for item in draft.items] == ["Do it", "b"]
    assert draft.items[1].depends_on == (draft.items[0].key,)
    assert "twice" in draft.warnings[0]


@pytest.mark.parametrize(
    "line",
    ["Depends on: acme/other#5", "- Blocked by: `Acme/Other#5`", "Needs https://forge.test/acme/other/issues/5 first"],
)
def test_a_dependency_on_another_repository_is_refused_with_both_names(line: str) -> None:
    said = _refusal(f"- [ ] Do it\n  {line}\n")
    assert "'Do it' depends on" in said
    assert "acme/other#5, the breakdown is of acme/api" in said.replace("Acme/Other", "acme/other")


@pytest.mark.parametrize("line", ["Depends on: acme/api#5", "Needs https://forge.test/acme/api/issues/5 first"])
def test_the_same_repository_may_be_named_in_full(line: str) -> None:
    assert _draft(f"- [ ] Do it\n  {line}\n").items[0].issues == (5,)


def test_another_repository_in_prose_is_just_prose() -> None:
    assert _draft("- [ ] Do it\n  As in acme/other#5.\n").items[0].issues == ()


def test_a_circle_is_refused_with_its_way() -> None:
    said = _refusal("- [ ] a\n  Depends on: b\n- [ ] b\n  Depends on: c\n- [ ] c\n  Depends on: a\n")
    assert "circle" in said
    assert any(way in said for way in ("'a' → 'b' → 'c' → 'a'", "'b' → 'c' → 'a' → 'b'", "'c' → 'a' → 'b' → 'c'"))


@pytest.mark.parametrize("text", ["Just prose.\n", "- [x] done\n", "## Background\n## Goals\n", "# Title\n"])
def test_a_spec_without_open_work_is_refused(text: str) -> None:
    assert "names no work" in _refusal(text)


def test_more_issues_than_anybody_reads_are_refused() -> None:
    assert "61 issues, at most 60" in _refusal("".join(f"- [ ] task {n}\n" for n in range(61)))


def test_a_title_that_is_cut_stands_whole_in_the_text() -> None:
    long = "word " * 100
    [item] = _draft(f"- [ ] {long}\n").items
    assert len(item.title) == breakdown.TITLE_LIMIT
    assert item.body.startswith(long.strip())


def test_names_with_underscores_and_stars_keep_them() -> None:
    assert _titles("- [ ] Rename snake_case to __init__ in a*b\n") == ["Rename snake_case to __init__ in a*b"]


LINES = st.sampled_from(
    ["# a", "## b", "## c", "- [ ] d", "  - [ ] e", "- [x] f", "- g", "1. h", "Depends on: d", "Depends on: b, c",
     "```", "Labels: x", "text", "", "  Depends on: #3", "    code", "~~~", "Blocked by: acme/api#2"]
)  # fmt: skip  # a table


@given(st.lists(LINES, max_size=40))
def test_any_mixture_of_markdown_becomes_a_draft_or_a_refusal(lines: list[str]) -> None:
    try:
        draft = _draft("\n".join(lines))
    except errors.Refused:
        return
    keys = [item.key for item in draft.items]
    assert len(keys) == len(set(keys))
    assert all(set(item.depends_on) <= set(keys) for item in draft.items)


@given(st.text())
def test_any_text_becomes_a_draft_or_a_refusal(text: str) -> None:
    with contextlib.suppress(errors.Refused):
        assert _draft(text).items


@pytest.mark.parametrize(
    "piece", ["*", "[", "- [ ] a\n", "#", "Depends on: ", "a/", "1.", " ", "\n", "**a** ", "```\n", "*\n"]
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    text = piece * (breakdown.SPEC_LIMIT // len(piece))
    began = time.process_time()  # what other programs of the machine take is not counted
    for candidate in (text, f"- [ ] a\n  Depends on: {text}"):
        try:
            _draft(candidate)
        except errors.Refused:
            continue
    assert time.process_time() - began < 5  # a pattern that backtracks takes minutes
