"""Stack traces as crash reporters send them, read from any JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

_DEEPEST: Final = 2_000


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One frame as a crash reporter sends it.

    Attributes:
        filename: Path as the runtime shows it, often relative to a root of imports.
        abs_path: Path or URL on the machine where it ran.
        module: Dotted module or class.
        function: Name of the function.
        lineno: Line, counted from 1; 0 when unknown.
        in_app: What the reporter holds of it; None when it says nothing.
        package: Binary or archive that it was loaded from.
    """

    filename: str = ""
    abs_path: str = ""
    module: str = ""
    function: str = ""
    lineno: int = 0
    in_app: bool | None = None
    package: str = ""

    @classmethod
    def read(cls, value: object) -> "Frame":
        """A frame from any JSON, in snake or camel case. What is of another type is left out; none raises."""
        if not isinstance(value, Mapping):
            return cls()
        in_app = _first(value, "in_app", "inApp")
        return cls(
            _text(_first(value, "filename", "fileName", "file")),
            _text(_first(value, "abs_path", "absPath")),
            _text(_first(value, "module")),
            _text(_first(value, "function", "raw_function", "rawFunction", "symbol")),
            _line(_first(value, "lineno", "lineNo", "line_no", "line")),
            in_app if isinstance(in_app, bool) else None,
            _text(_first(value, "package")),
        )


def trace(value: object) -> list[Frame]:
    """The frames of any JSON that holds some, outermost first: a list, `{"frames": …}`, a stack trace, an event."""
    pending, steps = [value], 0
    while pending and steps < _DEEPEST:
        steps += 1
        each = pending.pop(0)
        if isinstance(each, list):
            rows = [row for row in each[-_DEEPEST:] if isinstance(row, Mapping)]
            if any(_is_frame(row) for row in rows):
                return [Frame.read(row) for row in rows]
            pending.extend(reversed(rows))  # of chained exceptions the last one is the one that was raised
        elif isinstance(each, Mapping):
            keys = ("frames", "stacktrace", "exception", "values", "entries", "data", "threads", "event")
            pending.extend(each[key] for key in keys if isinstance(each.get(key), (list, Mapping)))
    return []


def _is_frame(row: Mapping[str, Any]) -> bool:
    return any(key in row for key in ("filename", "abs_path", "absPath", "function", "lineno", "lineNo"))


def _first(value: Mapping[Any, Any], *keys: str) -> object:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _text(value: object) -> str:
    return value[:4_096] if isinstance(value, str) else ""


def _line(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000_000 else 0
