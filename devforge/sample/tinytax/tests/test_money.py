import unittest
from decimal import Decimal

from tinytax import money


class MoneyTest(unittest.TestCase):
    def test_half_a_cent_rounds_up(self) -> None:
        self.assertEqual(money.cents(Decimal("0.005")), Decimal("0.01"))

    def test_amounts_are_read_with_thousands_separators(self) -> None:
        self.assertEqual(money.parse(" 1,234.50 "), Decimal("1234.50"))

    def test_words_are_no_amount(self) -> None:
        with self.assertRaises(ValueError):
            money.parse("twelve")

    def test_amounts_are_shown_with_two_decimals(self) -> None:
        self.assertEqual(money.show(Decimal("1234.5")), "1,234.50")


if __name__ == "__main__":
    unittest.main()
