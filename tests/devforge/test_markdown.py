"""The part of Markdown that pages show; whatever the text is, no HTML but ours comes out, and soon."""

import re
import time

import hypothesis
import hypothesis.strategies as st
import pytest

from devforge import markdown

OURS = (
    r"</?(?:p|h[3-6]|ul|ol|li|blockquote|pre|code|strong|em)>|<hr>|</a>"
    r'|<a href="https?://[^"<>]*" rel="nofollow noopener">'
)


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
        ("# Big\ntext", "<h3>Big</h3><p>text</p>"),
        ("###### small ##", "<h6>small</h6>"),
        ("#1 is no heading", "<p>#1 is no heading</p>"),
        ("text\n\n---\n_by us_", "<p>text</p><hr><p><em>by us</em></p>"),
        ("> a\n> b\n\nc", "<blockquote><p>a\nb</p></blockquote><p>c</p>"),
        ("> - a\n> > b", "<blockquote><ul><li>a</li></ul><blockquote><p>b</p></blockquote></blockquote>"),
        ("- a\n- b\n\nc", "<ul><li>a</li><li>b</li></ul><p>c</p>"),
        ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("- [x] a\n- [ ] b", "<ul><li>☑ a</li><li>☐ b</li></ul>"),
        ("-no list", "<p>-no list</p>"),
        ("```py\n<b>\n# no heading\n```\nafter", "<pre>&lt;b&gt;\n# no heading</pre><p>after</p>"),
        ("```\nnever closed", "<pre>never closed</pre>"),
        ("a **b _c_** d", "<p>a <strong>b <em>c</em></strong> d</p>"),
        ("_a **b** c_", "<p><em>a <strong>b</strong> c</em></p>"),
        ("**a _b** c_", "<p><strong>a _b</strong> c_</p>"),
        ("__a **b__ c**", "<p>__a <strong>b__ c</strong></p>"),
        ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
        ("`a_b **c**` and ``x`y``", "<p><code>a_b **c**</code> and <code>x`y</code></p>"),
        ("`<b>`", "<p><code>&lt;b&gt;</code></p>"),
        (
            "[**a** `b`](https://x.test/a_b_c?d=1&e=2)",
            '<p><a href="https://x.test/a_b_c?d=1&amp;e=2" rel="nofollow noopener"><strong>a</strong> '
            "<code>b</code></a></p>",
        ),
        (
            "see https://x.test/a_b_, now",
            '<p>see <a href="https://x.test/a_b" rel="nofollow noopener">https://x.test/a_b</a>_, now</p>',
        ),
        (
            "[a](https://x.test/`b`)",
            '<p>[a](<a href="https://x.test/" rel="nofollow noopener">https://x.test/</a><code>b</code>)</p>',
        ),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("a <!-- key=1 --> b", "<p>a  b</p>"),
        ("<!-- key=1 -->", ""),
        ("```\n<!-- shown -->\n```\n<!-- hidden -->", "<pre>&lt;!-- shown --&gt;</pre>"),
        ("<!-- never closed", "<p>&lt;!-- never closed</p>"),
        ("\ue0000\ue001", "<p>0</p>"),
        ("", ""),
        (None, ""),
    ],
)
def test_text_becomes_what_it_means(source: str | None, html: str) -> None:
    assert markdown.render(source) == html


SCRAPS = [
    "<script>",
    "</p>",
    "<!--",
    "-->",
    "```",
    "> ",
    "- ",
    "1. ",
    "# ",
    "---",
    "**",
    "_",
    "*",
    "`",
    "\n",
    "  ",
    "x",
]
SCRAPS += [
    "[a](https://x.test/",
    ")",
    "](javascript:",
    'https://x.test/"onload=',
    "&lt;",
    "'",
    '"',
    "\ue000",
    "0\ue001",
]


@hypothesis.settings(max_examples=500)
@hypothesis.given(st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5), max_size=40))
def test_nothing_but_our_own_tags_comes_out_and_every_one_is_closed(scraps: list[str]) -> None:
    made = str(markdown.render("".join(scraps)))
    assert "<" not in re.sub(OURS, "", made)
    opened: list[str] = []
    for closing, tag in re.findall(r"<(/?)(\w+)", made):
        if tag == "hr":
            continue
        if closing:
            assert opened.pop() == tag
        else:
            opened.append(tag)
    assert opened == []


@pytest.mark.parametrize(
    "scrap",
    ["<!--", "> ", ">", "- ", "  - x\n", "**", "_a", "*a ", "`", "[", "[a](", "# ", "```\n", "https://", "a_ _"],
)
def test_a_hostile_text_of_the_largest_size_takes_no_more_than_moments(scrap: str) -> None:
    began = time.process_time()
    markdown.render(scrap * (65_536 // len(scrap)))
    markdown.render("#" + scrap + " " * 60_000 + "x")
    assert time.process_time() - began < 5
