"""Which skills an issue asks for: names out of a list, whatever else anybody writes there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import skills


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("Fix it.\n\n## Skills\n\n- deploy\n- `money`\n* review:pr\n", ("deploy", "money", "review:pr")),
        ("### SKILLS:\n1. deploy\n2) money", ("deploy", "money")),
        ("## Skills\r\n- deploy\r\n", ("deploy",)),
        ("## Skills\n- [x] deploy\n- [ ] money\n- [X] review", ("deploy", "review")),
        ("## Skills\n- `deploy`: to staging\n- **`money`** rounds", ("deploy", "money")),
        ("## Skills\n- review - last\n- **lint**", ("review", "lint")),
        ("## Skills\n- deploy\n- deploy\n", ("deploy",)),
        ("## Skills\n- deploy\n### Why\n- because\n## Other\n- money\n", ("deploy", "because")),
        ("# Skills\n- deploy\n# Notes\n- money\n", ("deploy",)),
        ("Skills\n- deploy", ()),
        ("## Skills needed\n- deploy", ()),
        ("## Skills\nnothing\n", ()),
        ("", ()),
    ],
)  # fmt: skip
def test_the_list_below_the_heading_names_the_skills(body: str, names: tuple[str, ...]) -> None:
    assert skills.parse(body).names == names


def test_a_heading_in_a_code_block_is_no_section() -> None:
    body = "```md\n## Skills\n- deploy\n```\n~~~~\n## Skills\n- money\n~~~\n- more\n~~~~\n"
    assert skills.parse(body).names == ()


def test_a_list_item_in_a_code_block_of_the_section_is_none() -> None:
    assert skills.parse("## Skills\n- deploy\n```\n- money\n```\n- review\n").names == ("deploy", "review")


@pytest.mark.parametrize(
    "entry", ["../../etc/passwd", "/etc/passwd", "a b`c", "`rm -rf /`", "{{ x }}", "-", "a/b", ".x"]
)
def test_what_is_no_name_is_refused_and_told(entry: str) -> None:
    found = skills.parse(f"## Skills\n- `{entry}`\n- deploy\n")
    assert found.names == ("deploy",)
    assert len(found.refused) == 1


def test_at_most_twenty_are_taken() -> None:
    found = skills.parse("## Skills\n" + "".join(f"- skill{n}\n" for n in range(30)))
    assert found.names == tuple(f"skill{n}" for n in range(20))
    assert len(found.refused) == 10


@given(st.text(max_size=300))
def test_no_text_makes_a_name_that_could_be_a_path_or_a_sentence(text: str) -> None:
    for name in skills.parse(f"## Skills\n- {text}\n- `{text}`\n{text}").names:
        assert name.replace("-", "").replace("_", "").replace(":", "").isalnum()
        assert len(name) < 130
