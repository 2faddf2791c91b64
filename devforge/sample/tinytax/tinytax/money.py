"""Amounts of money: exact decimals, rounded to whole cents only where a rule says so."""

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")


def cents(amount: Decimal) -> Decimal:
    """Round an exact amount to whole cents, half up."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)


def parse(text: str) -> Decimal:
    """Read an amount such as `1,234.50` or `12`.

    Raises:
        ValueError: the text is no amount.
    """
    cleaned = text.strip().replace(",", "")
    if not cleaned or not cleaned.lstrip("-").replace(".", "", 1).isdigit():
        raise ValueError(f"not an amount: {text!r}")
    return Decimal(cleaned)


def show(amount: Decimal) -> str:
    """An amount with thousands separators and two decimals."""
    return f"{cents(amount):,.2f}"
