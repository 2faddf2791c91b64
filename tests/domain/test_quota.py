"""A provider that refuses one run refuses all: one cool-down, waited for together, left one by one."""

from datetime import UTC, datetime, timedelta

import pytest

from domain import quota
from domain.quota import CoolDowns

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("backend", "model", "provider"),
    [
        ("claude", "opus", "anthropic"),
        ("codex", "", "openai"),
        ("gemini", "", "google"),
        ("kimi", "", "moonshot"),
        ("opencode", "anthropic/claude", "anthropic"),
        ("opencode", "", "opencode"),
        ("scripted", "", "scripted"),
    ],
)
def test_a_backend_and_its_model_name_the_provider(backend: str, model: str, provider: str) -> None:
    assert quota.provider_of(backend, model) == provider


def test_a_refusal_is_for_everybody_until_its_time() -> None:
    cool = CoolDowns()
    assert cool.refused("anthropic", 90 * MINUTE, NOW) == NOW + 90 * MINUTE
    assert cool.until("anthropic", NOW + 89 * MINUTE) == NOW + 90 * MINUTE
    assert cool.until("openai", NOW) is None
    assert cool.until("anthropic", NOW + 90 * MINUTE) is None


def test_a_provider_that_does_not_say_how_long_is_asked_ever_later() -> None:
    cool, at, waits = CoolDowns(), NOW, []
    for _ in range(7):
        until = cool.refused("x", None, at)
        waits.append(until - at)
        at = until + timedelta(seconds=1)
    assert waits == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE, 30 * MINUTE, 30 * MINUTE]


def test_turns_that_were_under_way_count_as_one_refusal() -> None:
    cool = CoolDowns()
    for second in range(20):
        cool.refused("x", None, NOW + timedelta(seconds=second))
    assert cool.providers["x"].refusals == 1
    assert cool.until("x", NOW + 2 * MINUTE) is None


def test_a_longer_word_of_a_later_refusal_counts() -> None:
    cool = CoolDowns()
    cool.refused("x", 10 * MINUTE, NOW)
    cool.refused("x", MINUTE, NOW + MINUTE)
    assert cool.until("x", NOW + MINUTE) == NOW + 10 * MINUTE
    cool.refused("x", 60 * MINUTE, NOW + MINUTE)
    assert cool.until("x", NOW + MINUTE) == NOW + 61 * MINUTE


def test_an_answer_that_is_no_time_is_bounded() -> None:
    assert CoolDowns().refused("x", timedelta(days=4000), NOW) == NOW + quota.LONGEST_ASKED
    assert CoolDowns().refused("x", timedelta(0), NOW) == NOW + quota.FIRST_WAIT


def test_after_a_cool_down_turns_begin_apart_until_one_is_answered() -> None:
    cool = CoolDowns()
    over = cool.refused("x", MINUTE, NOW)
    cool.began("x", over)
    assert cool.until("x", over) == over + quota.APART
    cool.began("x", over + quota.APART)
    assert cool.until("x", over + quota.APART) == over + 2 * quota.APART
    cool.answered("x", began_at=over)
    assert cool.until("x", over + quota.APART) is None


def test_an_answer_to_a_turn_from_before_proves_nothing() -> None:
    cool = CoolDowns()
    until = cool.refused("x", MINUTE, NOW)
    cool.answered("x", began_at=NOW - MINUTE)
    assert cool.until("x", NOW) == until


def test_a_second_refusal_right_after_the_window_is_a_second_one() -> None:
    cool = CoolDowns()
    over = cool.refused("x", None, NOW)
    cool.began("x", over)
    assert cool.refused("x", None, over + timedelta(seconds=3)) == over + timedelta(seconds=3) + 2 * MINUTE


def test_a_quiet_quarter_of_an_hour_is_forgotten() -> None:
    cool = CoolDowns()
    over = cool.refused("x", MINUTE, NOW)
    cool.began("x", over + quota.CAREFUL_FOR + MINUTE)
    assert cool.providers == {}


def test_an_operator_may_end_it() -> None:
    cool = CoolDowns()
    cool.refused("x", MINUTE, NOW)
    assert cool.clear("x")
    assert cool.until("x", NOW) is None
    assert not cool.clear("x")
