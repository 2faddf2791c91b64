"""Does an answer fit its JSON Schema? The part of the standard that pydantic writes and models are asked to fill.

A CLI passes a schema to the model and exits with 0 whatever comes back, so every answer is checked here. A keyword that
is not known here allows everything.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_DEEPEST: Final = 64
_MOST: Final = 5
_STEPS: Final = 200_000
"""A schema can refer to itself so that a small one has no end; what is left then counts as fitting."""
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def mistakes(text: str, schema_text: str) -> list[str]:
    """Why `text` is no answer to the schema, the first few; empty when it is one."""
    try:
        value, schema = json.loads(text), json.loads(schema_text)
    except (ValueError, RecursionError) as error:
        return [f"it is no JSON ({error})"]
    if not isinstance(schema, dict):
        return []
    found: list[str] = []
    _Check(schema, found, itertools.count()).value(value, schema, "answer", 0)
    return found[:_MOST]


class _Check:
    def __init__(self, root: dict[str, Any], found: list[str], steps: Iterator[int]) -> None:
        self._root = root
        self._found = found
        self._steps = steps

    def value(self, value: Any, schema: Any, where: str, depth: int) -> None:
        if not isinstance(schema, dict) or depth > _DEEPEST or len(self._found) >= _MOST:
            return
        if next(self._steps) > _STEPS:
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            self.value(value, self._resolved(reference), where, depth + 1)
        for key in ("anyOf", "oneOf"):
            choices = _list(schema.get(key))
            if choices and not any(self._fits(value, choice, depth) for choice in choices):
                self._found.append(f"{where} fits none of its alternatives")
        for part in _list(schema.get("allOf")):
            self.value(value, part, where, depth + 1)
        if not _is_of_type(value, schema.get("type")):
            self._found.append(f"{where} is {_named(value)}, not {schema['type']}")
            return
        if "const" in schema and value != schema["const"]:
            self._found.append(f"{where} is not {schema['const']!r}")
        if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
            self._found.append(f"{where} is not one of {schema['enum']!r}")
        self._bounds(value, schema, where)
        if isinstance(value, dict):
            self._object(value, schema, where, depth)
        elif isinstance(value, list):
            for index, each in enumerate(value):
                self.value(each, schema.get("items"), f"{where}[{index}]", depth + 1)

    def _object(self, value: dict[str, Any], schema: dict[str, Any], where: str, depth: int) -> None:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        self._found.extend(f"{where}.{name} is missing" for name in required if name not in value)
        extra = schema.get("additionalProperties", True)
        for name, each in value.items():
            if name in properties:
                self.value(each, properties[name], f"{where}.{name}", depth + 1)
            elif extra is False:
                self._found.append(f"{where}.{name} is not foreseen")
            else:
                self.value(each, extra, f"{where}.{name}", depth + 1)

    def _bounds(self, value: Any, schema: dict[str, Any], where: str) -> None:
        size = len(value) if isinstance(value, str | list) else value
        if isinstance(size, bool) or not isinstance(size, int | float):
            return
        kind = "Length" if isinstance(value, str) else "Items" if isinstance(value, list) else "imum"
        low, high = schema.get(f"min{kind}"), schema.get(f"max{kind}")
        if isinstance(low, int | float) and size < low:
            self._found.append(f"{where} is below its minimum of {low}")
        if isinstance(high, int | float) and size > high:
            self._found.append(f"{where} is above its maximum of {high}")
        pattern = schema.get("pattern")
        if isinstance(value, str) and isinstance(pattern, str) and not _matches(pattern, value):
            self._found.append(f"{where} does not match {pattern}")

    def _fits(self, value: Any, schema: Any, depth: int) -> bool:
        found: list[str] = []
        _Check(self._root, found, self._steps).value(value, schema, "it", depth + 1)
        return not found

    def _resolved(self, reference: str) -> Any:
        place: Any = self._root
        for step in reference.removeprefix("#/").split("/"):
            place = place.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(place, dict) else None
        return place


def _is_of_type(value: Any, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, list):
        return True
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    known = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    return any(isinstance(value, kinds) for kinds in known) or not known


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _named(value: Any) -> str:
    return next((name for name, kinds in _TYPES.items() if type(value) in kinds), "something")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True
