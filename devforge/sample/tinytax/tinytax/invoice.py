"""Invoices: lines, one tax rate, and the three totals a customer sees."""

from dataclasses import dataclass, field
from decimal import Decimal

from . import money


@dataclass(frozen=True)
class Line:
    """One position of an invoice."""

    description: str
    quantity: int
    unit_price: Decimal

    @property
    def net(self) -> Decimal:
        """Quantity times unit price, exact."""
        return self.quantity * self.unit_price


@dataclass
class Invoice:
    """An invoice with a single tax rate, e.g. `Decimal("0.20")` for 20 %."""

    rate: Decimal
    lines: list[Line] = field(default_factory=list)

    def add(self, description: str, quantity: int, unit_price: Decimal) -> None:
        """Append a line.

        Raises:
            ValueError: the quantity is not positive.
        """
        if quantity < 1:
            raise ValueError(f"quantity of {description!r} must be positive, not {quantity}")
        self.lines.append(Line(description, quantity, unit_price))

    @property
    def net(self) -> Decimal:
        """The net total in whole cents."""
        return money.cents(sum((line.net for line in self.lines), Decimal(0)))

    @property
    def tax(self) -> Decimal:
        """The tax in whole cents."""
        return sum((money.cents(line.net * self.rate) for line in self.lines), Decimal(0))

    @property
    def gross(self) -> Decimal:
        """What the customer pays."""
        return self.net + self.tax
