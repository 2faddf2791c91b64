"""Names of types as a heritage clause or a declaration writes them, without what they are applied to."""

import functools
import re

LONGEST = 2_000
"""Bytes of a clause that are read."""

_MAX_NAME = 128
_TOKEN = re.compile(r"[\[<({]|[\])}>]|,|\+|&&?|;|\w+|[^\w\[<({\])}>,+&;]+")
_OPEN = frozenset("[<({")
_CLOSE = frozenset("])}>")
_BETWEEN = frozenset((",", "+", "&", "&&", ";", "extends", "implements", "with"))
_SILENT = frozenset(("public", "private", "protected", "internal", "virtual", "class", "dyn", "use", "const"))


@functools.lru_cache(maxsize=4096)
def read(text: str) -> tuple[str, ...]:
    """Names in a clause such as `(A, b.C[int], metaclass=M)`, `extends A<T> implements B` or `: public a::B<T>`."""
    text = text.strip()
    if text[:1] == "(" and text[-1:] == ")":
        text = text[1:-1]
    found: list[str] = []
    current: list[str] = []
    depth = 0
    for token in [*_TOKEN.findall(text), ","]:
        if token in _OPEN:
            depth += 1
        elif token in _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0 and token in _BETWEEN:
            name = "".join(current).strip(" \t\r\n:*?<>'\"|")
            if name and "=" not in name and len(name) <= _MAX_NAME:
                found.append(" ".join(name.split()))
            current = []
        elif depth == 0 and token not in _SILENT:
            current.append(token)
    return tuple(dict.fromkeys(found))


_OPERATOR = re.compile(r"\boperator\b\s*(?:\(\)|[^\w\s(]+|[^(]+)")
_APPLIED = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]")


def bare(text: str) -> str:
    """A name of a type or function without type arguments; the text itself when nothing else is left of it."""
    symbol = _OPERATOR.search(text)
    if symbol:
        return f"{bare(text[: symbol.start()])}{symbol[0].strip()}" if symbol.start() else symbol[0].strip()
    shorter, left = text, ""
    while shorter != left:
        left, shorter = shorter, _APPLIED.sub("", shorter, count=50)
    for bracket in "<([":
        shorter = shorter.partition(bracket)[0]
    return shorter.strip(" *:") or text
