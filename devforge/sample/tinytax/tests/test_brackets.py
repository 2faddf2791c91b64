import unittest
from decimal import Decimal

from tinytax import brackets

TABLE = (
    brackets.Bracket(Decimal(0), Decimal("0.00")),
    brackets.Bracket(Decimal(10_000), Decimal("0.20")),
    brackets.Bracket(Decimal(50_000), Decimal("0.40")),
)


class BracketsTest(unittest.TestCase):
    def test_income_below_the_first_rate_is_free(self) -> None:
        self.assertEqual(brackets.income_tax(Decimal(9_999), TABLE), Decimal("0.00"))

    def test_only_the_part_above_a_start_is_taxed(self) -> None:
        self.assertEqual(brackets.income_tax(Decimal(10_001), TABLE), Decimal("0.20"))

    def test_every_bracket_adds_its_own_part(self) -> None:
        self.assertEqual(brackets.income_tax(Decimal(60_000), TABLE), Decimal("12000.00"))

    def test_unordered_brackets_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            brackets.income_tax(Decimal(1), TABLE[::-1])


if __name__ == "__main__":
    unittest.main()
