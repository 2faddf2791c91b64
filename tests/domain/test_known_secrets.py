"""Every value that a process holds is found, however it is written, and never carried along."""

import base64
import json
import textwrap
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import redaction, safety, work

HELD = "pw:correct/horse+battery=staple&four-words, and more of them to fill a line"
KEY = (
    "-----BEGIN "
    + "PRIVATE KEY-----\n"
    + "\n".join("Mx0" + c * 61 for c in "aBcD")
    + "\n-----END "
    + "PRIVATE KEY-----"
)
REDACTOR = redaction.Redactor(frozenset({HELD, KEY}))


def _hexdump(text: str) -> str:
    return textwrap.fill(text.encode().hex(), 60)


WRITTEN = {
    "as it is": HELD,
    "base64": base64.b64encode(HELD.encode()).decode(),
    "base64 as the tool prints it": base64.encodebytes(HELD.encode()).decode(),
    "base64 with Windows line ends": base64.encodebytes(HELD.encode()).decode().replace("\n", "\r\n"),
    "base64 in an indented block": textwrap.indent(base64.encodebytes(HELD.encode()).decode(), "    "),
    "base64 of more than the value": base64.encodebytes(f"user:{HELD}:tail".encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(HELD.encode()).decode(),
    "hexadecimal": HELD.encode().hex(),
    "HEXADECIMAL": HELD.encode().hex().upper(),
    "hexadecimal in lines": _hexdump(HELD),
    "part of a URL": f"https://x:{urllib.parse.quote(HELD, safe='')}@forge.test/",
    "JSON": json.dumps({"a": HELD}),
    "broken into lines": f"{HELD[:30]}\n  {HELD[30:]}",
    "a key as it is": KEY,
    "a key on one line of JSON": json.dumps({"key": KEY}),
    "a key in base64": base64.encodebytes(KEY.encode()).decode(),
    "a key in base64 on one line": base64.b64encode(KEY.encode()).decode(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_value_is_masked_however_it_is_written(name: str) -> None:
    text = f"before\n{WRITTEN[name]}\nafter"
    masked = REDACTOR.redact(text)
    assert masked.startswith("before\n")
    assert masked.endswith("\nafter")
    assert "[redacted:" in masked
    compact = "".join(masked.split())
    for piece in (HELD[:20], HELD[-20:], KEY[40:80], *_middles(WRITTEN[name])):
        assert "".join(piece.split()) not in compact


def _middles(text: str) -> list[str]:
    """Pieces of the written form, apart from its edges, which mix with what stands beside it."""
    compact = "".join(text.split())
    return [compact[at : at + 24] for at in range(24, len(compact) - 48, 24)]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_value_in_a_change_blocks_it_however_it_is_written(name: str) -> None:
    content = f"first = 1\n# {WRITTEN[name]}\nlast = 2\n".encode()
    found = safety.scan([safety.AddedText.of_file("c" * 40, "a.py", content, set())], REDACTOR)
    assert safety.blocks(found)
    assert 2 in {finding.line for finding in found if finding.level is work.FindingLevel.BLOCKS}
    assert not [f for f in found if HELD[:20] in f.model_dump_json() or WRITTEN[name][:30] in f.model_dump_json()]


@pytest.mark.parametrize("before", [0, 7_000, 7_900, 15_300, 100_000])
def test_a_long_value_anywhere_in_a_very_long_line_is_found(before: int) -> None:
    line = "x " * (before // 2) + base64.b64encode(KEY.encode()).decode() + " y" * 9_000
    found = safety.scan([safety.AddedText.of_file("c", "a.min.js", line.encode(), set())], REDACTOR)
    assert "known-secret" in {finding.rule for finding in found}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_a_value_is_found_in_any_encoding_of_a_file(encoding: str) -> None:
    content = f'token = "{HELD}"\n'.encode(encoding)
    found = safety.scan([safety.AddedText.of_file("c", "a.ps1", content, set())], REDACTOR)
    assert "known-secret" in {finding.rule for finding in found}


@pytest.mark.parametrize(
    "text",
    [
        safety.AddedText.of_message("c", f"Fix\n\nSigned-off-by: {HELD}"),
        safety.AddedText.of_header("c", f"tree {'0' * 40}\nauthor {HELD} <a@b> 1 +0000"),
        safety.AddedText.of_name("c", f"docs/{HELD}.md"),
        safety.AddedText.of_name("c", "link", link_target=HELD),
    ],
    ids=["message", "header", "path", "symlink"],
)
def test_a_value_beside_the_files_is_found_and_not_carried(text: safety.AddedText) -> None:
    found = safety.scan([text], REDACTOR)
    assert safety.blocks(found)
    assert not [finding for finding in found if HELD in finding.model_dump_json()]


def test_a_finding_in_a_file_with_a_telling_name_does_not_carry_it() -> None:
    [finding] = safety.scan([safety.AddedText.of_file("c", f"{HELD}.py", b"eval(x)\n", set())], REDACTOR)
    assert finding.path == "[redacted:known-secret].py"


SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=20, max_size=120)


@given(secret=SECRETS, width=st.integers(10, 76), indent=st.integers(0, 8), around=st.text(max_size=20))
def test_no_broken_form_of_a_value_survives(secret: str, width: int, indent: int, around: str) -> None:
    redactor = redaction.Redactor(frozenset({secret}))
    for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex()):
        lines = [form[at : at + width] for at in range(0, len(form), width)]
        broken = ("\n" + " " * indent).join(lines)
        assert "".join(lines) not in "".join(redactor.redact(f"{around}\n{broken}\n{around}").split())


@given(st.text("ab \n", max_size=60), st.text("ab", min_size=20, max_size=24))
def test_masking_takes_away_nothing_but_the_value(text: str, secret: str) -> None:
    redactor = redaction.Redactor(frozenset({secret}))
    spans = sorted((finding.start, finding.end) for finding in redactor.find_known(text))
    for start, end in spans:
        assert "".join(text[start:end].split()) == secret


def test_words_on_two_lines_are_not_a_short_value() -> None:
    redactor = redaction.Redactor(frozenset({"password"}))
    assert redactor.redact("pass\nword") == "pass\nword"


def test_secrets_of_the_environment_are_told_by_their_names() -> None:
    environment = {
        "ANTHROPIC_API_KEY": "value-of-a-provider",
        "FETTLE_WEBHOOK_SECRET": "value-of-a-webhook",
        "PGPASSWORD": "not by this name: no word of its own",
        "DB_PASSWORD": " value-of-a-database ",
        "GITHUB_TOKEN": "short",
        "FETTLE_FORGE__TOKEN_FILE": "/run/secrets/token",
        "KEYBOARD_LAYOUT": "german-without-dead-keys",
        "HOME": "/home/fettle-the-worker",
        "MAX_TOKEN": "100000000000000",
    }
    assert redaction.held_in(environment) == {"value-of-a-provider", "value-of-a-webhook", "value-of-a-database"}


def test_many_values_and_a_long_text_take_little_time() -> None:
    redactor = redaction.Redactor(frozenset(f"{KEY}{n}" for n in range(5)) | {f"value-{n}-of-many" for n in range(50)})
    text = "a line of a log that holds nothing\n" * 30_000
    began = time.process_time()  # what other programs of the machine take is not counted
    assert redactor.find_known(text) == []
    assert time.process_time() - began < 10
