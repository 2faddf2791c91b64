"""Names and signatures out of a repository are written by strangers: before a person or a prompt sees them, they are
cut and stripped of what a terminal, or a reader of Markdown, would act on."""

import unicodedata

_LONGEST = 160


def line(text: str, longest: int = _LONGEST) -> str:
    """One line of plain text: no control or direction characters, no back-quotes; white space folded."""
    kept = "".join(" " if character.isspace() else character for character in text if _plain(character))
    kept = " ".join(kept.replace("`", "'").split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def _plain(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
