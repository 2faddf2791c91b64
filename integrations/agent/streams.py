"""Reading JSON lines that somebody else's program writes: tolerant, typed access that never raises."""

import json
from typing import Any, TypeGuard


def json_object(line: bytes) -> dict[str, Any] | None:
    """The object on this line; None for anything else: blank lines, stray prints, a line cut off by a kill."""
    text = line.strip()
    if not text.startswith(b"{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return value if is_object(value) else None


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def text_at(value: dict[str, Any], key: str) -> str:
    """The text at a key; empty when there is none. JSON may hold half a surrogate pair, which no encoder takes."""
    found = value.get(key)
    return found.encode("utf-8", "replace").decode() if isinstance(found, str) else ""


def texts_at(value: dict[str, Any], key: str) -> list[str]:
    found = value.get(key)
    each = found if isinstance(found, list) else []
    return [item.encode("utf-8", "replace").decode() for item in each if isinstance(item, str)]


def number_at(value: dict[str, Any], key: str) -> float | None:
    """A finite, non-negative number. JSON readers accept NaN, a cost must not be one."""
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        number = float(found)
    except OverflowError:
        return None
    return number if 0 <= number < float("inf") else None


def count_at(value: dict[str, Any], key: str) -> int | None:
    """A whole, non-negative number of a size that a counter can have."""
    number = number_at(value, key)
    return int(number) if number is not None and number < 2**53 else None


def json_text(value: object) -> str:
    """What was read from JSON, as JSON again; empty for what cannot be written."""
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def objects_at(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    return [item for item in found if is_object(item)] if isinstance(found, list) else []
