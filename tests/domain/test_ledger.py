"""What a turn added to its session, however the CLI counts; what nobody knows stays unknown."""

import pytest

from domain import ledger


@pytest.mark.parametrize(
    ("raw", "previous", "seen", "added"),
    [
        (None, None, None, None),
        (None, 5.0, None, None),
        (None, 5.0, 0.5, 0.5),
        (2.0, None, None, 2.0),
        (5.0, 2.0, 3.0, 3.0),
        (5.0, 2.0, 1.0, 3.0),  # a turn in between had an unknown cost: the total holds it
        (1.5, 2.0, 1.5, 1.5),  # counted anew by a new process
        (2.0, 2.0, 0.0, 0.0),
        (0.0, None, None, 0.0),
    ],
)
def test_the_cost_of_a_turn_is_what_it_added(
    raw: float | None, previous: float | None, seen: float | None, added: float | None
) -> None:
    assert ledger.added(raw, previous, seen) == added


def test_experience_needs_a_few_turns_and_covers_nine_in_ten() -> None:
    assert ledger.estimate([1.0] * (ledger.ENOUGH - 1)) is None
    assert ledger.estimate([float(n) for n in range(1, 12)]) == 10
    assert ledger.estimate([0.5] * 39 + [40.0]) == 0.5
