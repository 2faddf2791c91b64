"""No bytes raise, hang or cost more than their share, and the same bytes always say the same."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from codegraph import extract, facts, languages
from tests.codegraph import samples

ROOT = pathlib.Path(__file__).parents[2]
MANY = 200_000
LANGUAGES = sorted(languages.LANGUAGES)

_SOURCES = [samples.ALL[language] for language in LANGUAGES] + [pathlib.Path(extract.__file__).read_bytes()]


def _check(found: facts.Facts, data: bytes) -> None:
    """What holds for the facts of any bytes."""
    assert len(found.chunks) == len(found.definitions) + 1
    assert found.lines == len(data.split(b"\n")) - (not data or data.endswith(b"\n"))
    previous = 0
    for each in found.definitions:
        assert each.name
        assert previous <= each.start <= each.end <= max(1, found.lines)
        assert len(each.signature) <= 200
        assert "\n" not in each.signature
        assert each.calls == tuple(sorted(set(each.calls)))
        previous = each.start
    assert all(1 <= each.line <= max(1, found.lines) and each.module for each in found.imports)
    assert facts.decode(facts.encode(found)) == found


@hypothesis.given(data=st.binary(max_size=400), language=st.sampled_from(LANGUAGES))
def test_arbitrary_bytes_never_raise(data: bytes, language: str) -> None:
    _check(extract.extract(data, language), data)


@hypothesis.given(data=st.data(), language=st.sampled_from(LANGUAGES))
def test_cut_and_spliced_sources_never_raise_in_any_language(data: st.DataObject, language: str) -> None:
    first, second = data.draw(st.sampled_from(_SOURCES)), data.draw(st.sampled_from(_SOURCES))
    junk = data.draw(st.binary(max_size=8))
    text = first[: data.draw(st.integers(0, len(first)))] + junk + second[data.draw(st.integers(0, len(second))) :]

    _check(extract.extract(text, language), text)


@hypothesis.given(
    pieces=st.lists(st.sampled_from([*"(){}[]<>\"'`;:,.#@$!&|=+-*/\\\n ", "if ", "def ", "class ", "x"])),
    times=st.integers(1, 60),
    language=st.sampled_from(LANGUAGES),
)
def test_heaps_of_punctuation_never_raise(pieces: list[str], times: int, language: str) -> None:
    text = ("".join(pieces) * times).encode()

    _check(extract.extract(text, language), text)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0" * 5_000,
        b"\xff\xfe\x00\x01" * 100,
        b"\xef\xbb\xbf",
        b"\r\r\n\r",
        b"\n" * 100,
        bytes(range(256)),
    ],
    ids=["empty", "nul", "nuls", "not-utf8", "bom", "returns", "newlines", "all"],
)
def test_odd_bytes_are_read_as_far_as_they_go(language: str, data: bytes) -> None:
    _check(extract.extract(data, language), data)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("piece", [b"(", b"[", b"{", b"a<"])
def test_two_hundred_thousand_open_brackets_do_not_exhaust_the_stack_or_the_clock(language: str, piece: bytes) -> None:
    begun = time.process_time()

    found = extract.extract(piece * MANY, language, seconds=1.0)

    assert found.definitions == ()
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("language", ["c", "go", "java", "javascript", "python", "rust", "typescript"])
def test_a_chain_of_fifty_thousand_calls_does_not_take_the_square_of_its_length(language: str) -> None:
    """Every level of the chain is one more match that waits for its end; the query stops where nobody writes code."""
    begun = time.process_time()

    extract.extract(b"f()." * 50_000, language, seconds=1.0)

    assert time.process_time() - begun < 10


def test_a_parse_over_its_time_keeps_the_words_and_does_not_spoil_the_next_one() -> None:
    slow = b"def f(): return helper(1)\n" * 40_000

    found = extract.extract(slow, "python", seconds=0.0)
    after = extract.extract(samples.PYTHON, "python")

    assert (found.parsed, found.definitions, found.lines) == (False, (), 40_000)
    assert found.chunks == ({"def": 40_000, "return": 40_000, "helper": 40_000},)
    assert after == extract.extract(samples.PYTHON, "python")
    assert after.parsed
    assert len(after.definitions) == 5


def test_time_that_others_take_is_not_counted() -> None:
    """The machine does something else for a second in the middle of the parse."""
    data = b"def f(): return helper(1)\n" * 20_000
    stalls: list[float] = []

    def stall(*_: object) -> None:
        begun = time.monotonic()
        time.sleep(1.0)
        stalls.append(time.monotonic() - begun)

    before = signal.signal(signal.SIGALRM, stall)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        found = extract.extract(data, "python", seconds=0.9)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stalls
    assert found.parsed


def test_a_single_line_of_a_megabyte_is_read() -> None:
    data = b"function a(b){return c(b)};" * 38_000

    found = extract.extract(data, "javascript", seconds=30.0)

    assert found.lines == 1
    assert len(found.definitions) == 20_000
    assert found.definitions[0].calls == ("c",)
    assert all(len(each.signature) <= 200 for each in found.definitions)


def test_definitions_nested_deeper_than_anyone_writes_belong_to_the_last_that_is_told_apart() -> None:
    data = b"".join(b" " * depth + b"def f%d():\n" % depth for depth in range(200)) + b" " * 200 + b"leaf()\n"

    found = extract.extract(data, "python")

    assert len(found.definitions) == 32
    assert found.definitions[-1].name.count(".") == 31
    assert found.definitions[-1].calls == ("leaf",)


def test_the_same_bytes_say_the_same_for_three_hash_seeds() -> None:
    code = (
        "import hashlib\nfrom codegraph import extract, facts\nfrom tests.codegraph.samples import ALL\n"
        "data = b''.join(facts.encode(extract.extract(ALL[name], name)) for name in ALL)\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }
    own = b"".join(facts.encode(extract.extract(samples.ALL[name], name)) for name in samples.ALL)

    assert printed == {hashlib.sha256(own).hexdigest()}
