"""Numbers in sentences for people."""


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`; for nouns that take a plain s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
