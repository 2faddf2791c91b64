import unittest
from decimal import Decimal

from tinytax import invoice


def screws(count: int) -> invoice.Invoice:
    """An invoice with the same cheap line several times."""
    bill = invoice.Invoice(rate=Decimal("0.20"))
    for number in range(count):
        bill.add(f"Screw {number}", quantity=1, unit_price=Decimal("0.33"))
    return bill


class InvoiceTest(unittest.TestCase):
    def test_a_single_line_is_taxed(self) -> None:
        bill = invoice.Invoice(rate=Decimal("0.20"))
        bill.add("Desk", quantity=1, unit_price=Decimal("100.00"))
        self.assertEqual((bill.net, bill.tax, bill.gross), (Decimal("100.00"), Decimal("20.00"), Decimal("120.00")))

    def test_an_empty_invoice_costs_nothing(self) -> None:
        self.assertEqual(invoice.Invoice(rate=Decimal("0.20")).gross, Decimal("0.00"))

    def test_tax_is_rounded_once_for_the_whole_invoice(self) -> None:
        # 12 x 0.33 = 3.96 net, 20 % of it is 0.792: rounded once, the tax is 0.79.
        self.assertEqual(screws(12).tax, Decimal("0.79"))

    def test_how_lines_are_split_does_not_change_the_tax(self) -> None:
        bill = invoice.Invoice(rate=Decimal("0.20"))
        bill.add("Screws", quantity=12, unit_price=Decimal("0.33"))
        self.assertEqual(screws(12).gross, bill.gross)

    def test_a_quantity_of_zero_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            screws(1).add("Nothing", quantity=0, unit_price=Decimal("1.00"))


if __name__ == "__main__":
    unittest.main()
