"""Progressive income tax: each rate applies only to the part of the income inside its bracket."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from . import money


@dataclass(frozen=True)
class Bracket:
    """A rate that applies to income above `start`, up to the next bracket's start."""

    start: Decimal
    rate: Decimal


def income_tax(income: Decimal, brackets: Sequence[Bracket]) -> Decimal:
    """The tax on a yearly income, in whole cents.

    Raises:
        ValueError: the brackets are not in ascending order.
    """
    starts = [bracket.start for bracket in brackets]
    if starts != sorted(starts):
        raise ValueError("brackets must be in ascending order of their start")
    total = Decimal(0)
    for index, bracket in enumerate(brackets):
        end = brackets[index + 1].start if index + 1 < len(brackets) else income
        inside = min(income, end) - bracket.start
        if inside > 0:
            total += inside * bracket.rate
    return money.cents(total)
