import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import redaction

BODY = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6"
# Put together here, so that no scanner takes this file for a leak.
TOKENS = {
    "github-token": "ghp_" + BODY,
    "github-fine-grained-token": "github_" + "pat_" + BODY,
    "gitlab-token": "glpat-" + BODY[:20],
    "anthropic-key": "sk-" + "ant-api03-" + BODY,
    "openai-project-key": "sk-" + "proj-" + BODY,
    "openai-key": "sk-" + BODY,
    "google-api-key": "AI" + "za" + BODY,
    "aws-access-key-id": "AK" + "IA" + "ABCDEFGH234567JK",
    "slack-token": "xo" + "xb-1234567890-" + BODY,
    "stripe-key": "sk" + "_live_" + BODY,
    "sentry-token": "sntr" + "ys_" + BODY,
    "posthog-key": "ph" + "x_" + BODY,
    "npm-token": "np" + "m_" + BODY,
    "pypi-token": "py" + "pi-" + BODY,
    "json-web-token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + BODY,
    "private-key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "url-password": "postgres://app:" + "hunter2hunter2" + "@db.example.com/x",
}


@pytest.mark.parametrize(("rule", "token"), TOKENS.items(), ids=TOKENS)
def test_each_shape_is_found_alone_and_masked(rule: str, token: str) -> None:
    line = f'key = "{token}"  # do not commit'
    assert redaction.find_token_shapes(line) == [rule]
    masked = redaction.Redactor().redact(line)
    assert f"[redacted:{rule}]" in masked
    assert BODY[:20] not in masked
    assert "hunter2" not in masked


@pytest.mark.parametrize(
    "line",
    [
        "tokens that begin with ghp_ or sk-ant- are refused",
        "commit 3f2c1ab9d04e77a1b2c3d4e5f60718293a4b5c6d",
        "from task-antelope import desk-proj-planner",
        "https://example.com:8443/path@version",
        'url = f"postgres://{user}:{password}@{host}"',
        "AKIA is the prefix of an AWS key id",
        "npm_config_registry=https://example.com",
    ],
)
def test_prose_and_shas_are_no_findings(line: str) -> None:
    assert redaction.find_token_shapes(line) == []
    assert redaction.Redactor().redact(line) == line


def test_a_whole_private_key_is_masked_not_only_its_first_line() -> None:
    key = "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END " + "PRIVATE KEY-----"
    assert redaction.Redactor().redact(f"a\n{key}\nb") == "a\n[redacted:private-key]\nb"


def test_short_values_are_not_secrets() -> None:
    assert redaction.Redactor(frozenset({"main", "", "     x "})).redact("main x") == "main x"


def test_the_longer_of_two_values_wins() -> None:
    redactor = redaction.Redactor(frozenset({"password", "password-and-more"}))
    assert redactor.redact("password-and-more") == "[redacted:known-secret]"


def test_a_repr_does_not_show_the_values() -> None:
    assert "swordfish" not in repr(redaction.Redactor(frozenset({"swordfish"})))


def test_findings_carry_their_place() -> None:
    text = f"a {TOKENS['github-token']} b"
    [found] = redaction.find_secrets(text)
    assert text[found.start : found.end] == TOKENS["github-token"]
    assert found.rule == "github-token"


VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=6, max_size=60)


@given(secret=VALUES.filter(lambda value: value == value.strip()), around=st.text())
def test_no_form_of_a_known_value_survives(secret: str, around: str) -> None:
    redactor = redaction.Redactor(frozenset({secret}))
    raw = secret.encode()
    for form in (secret, raw.hex(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        core = form.rstrip("=")
        assert core not in redactor.redact(f"{around} {form} {around}").replace("known-secret", "")


@given(user=st.text("abcdefgh", min_size=1, max_size=7))
def test_a_value_inside_a_basic_auth_header_is_masked(user: str) -> None:
    redactor = redaction.Redactor(frozenset({"tr0ub4dor-and-three"}))
    header = base64.b64encode(f"{user}:tr0ub4dor-and-three:x".encode()).decode()
    masked = redactor.redact(header)
    assert "[redacted:known-secret]" in masked
    assert len(masked.replace("[redacted:known-secret]", "")) <= len(user) * 2 + 10


@given(st.text())
def test_masking_any_text_never_fails_and_is_stable(text: str) -> None:
    redactor = redaction.Redactor(frozenset({"some-secret"}))
    once = redactor.redact(text)
    assert redactor.redact(once) == once
