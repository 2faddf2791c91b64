"""The page about WORKFLOW.md names every key, name and filter there is, and its example is accepted."""

import re
from typing import Final

import pytest

from integrations.workflow_file import keys, reading, task, template
from tests.docs import pages

PAGE: Final = (pages.ROOT / "docs/workflow-file.md").read_text(encoding="utf-8")
EXAMPLE: Final = pages.ROOT / "docs/examples/WORKFLOW.md"


def test_every_key_is_on_the_page_and_no_other() -> None:
    sections = "|".join(keys.SECTIONS)
    named = set(re.findall(rf"`((?:{sections})\.[\w*]+)`", PAGE))
    assert named == set(keys.KEYS)


def test_every_name_of_a_template_is_on_the_page() -> None:
    members = {f"issue.{name}" for name in task.MEMBERS["issue"]}
    named = set(re.findall(r"`(issue\.\w+)`", PAGE))
    assert named == members
    for name in set(task.NAMES) - {"issue"}:
        assert f"`{name}`" in PAGE


def test_every_filter_is_on_the_page() -> None:
    line = next(line for line in PAGE.splitlines() if "and the filters" in line)
    assert set(re.findall(r"`([a-z]+)`", line.partition("and the filters")[2])) == set(template.FILTERS)


def test_the_example_has_no_mistake_and_no_key_without_effect() -> None:
    assert reading.parse(EXAMPLE.read_text(encoding="utf-8")).findings == ()


@pytest.mark.parametrize("sample", task.SAMPLES)
def test_the_example_can_be_rendered(sample: task.Task) -> None:
    text = template.render(reading.require(EXAMPLE.read_text(encoding="utf-8")).prompt, sample)
    assert sample.identifier in text
