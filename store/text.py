"""Text as both databases can keep it."""


def storable(text: str, limit: int) -> str:
    """`text` without what PostgreSQL or UTF-8 refuse (NUL, lone surrogates), cut to `limit` characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:limit]
