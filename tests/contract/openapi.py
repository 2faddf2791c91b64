"""Checks requests and answers against GitHub's own OpenAPI description, as far as its 3.0 dialect of JSON Schema goes.

The description is not ours to ship: `FETTLE_GITHUB_OPENAPI` names the file `api.github.com.json`, which the npm package
`@octokit/openapi` holds. Where it is wrong about the real GitHub, a comment says so and the real GitHub wins.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


@dataclass(frozen=True)
class Exchange:
    """One call that succeeded: what was asked and what came back."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    answer: Any


class Description:
    """An OpenAPI 3.0 document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    @classmethod
    def load(cls, path: Path) -> "Description":
        return cls(json.loads(path.read_text()))

    def problems(self, exchange: Exchange) -> list[str]:
        """What the description objects to; a call it does not know is one objection."""
        found = self._operation(exchange.method, exchange.path)
        if found is None:
            return [f"{exchange.method} {exchange.path} is no operation"]
        template, operation = found
        problems = [
            *self._query_problems(operation, exchange.query),
            *self._body_problems(operation, exchange.body),
            *self._answer_problems(operation, exchange),
        ]
        return [f"{exchange.method} {template}: {problem}" for problem in problems]

    def examples(self, method: str, template: str, status: str) -> list[Any]:
        """The description's own examples of an answer."""
        operation = self._document["paths"][template][method.lower()]
        content = self._deref(operation["responses"][status])["content"]["application/json"]
        return [self._whole(self._deref(example)["value"]) for example in content.get("examples", {}).values()]

    def _whole(self, value: Any) -> Any:
        """An example with the examples it refers to."""
        if isinstance(value, dict):
            if "$ref" in value:
                return self._whole(self._deref(value)["value"])
            return {name: self._whole(inner) for name, inner in value.items()}
        return [self._whole(item) for item in value] if isinstance(value, list) else value

    @cached_property
    def _templates(self) -> list[tuple[re.Pattern[str], str]]:
        """Literal parts win over parameters; only a ref or a path may hold slashes."""
        found = []
        for template in sorted(self._document["paths"], key=lambda t: (t.count("{"), -len(t))):
            pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
            pattern = re.sub(r"\{(ref|path)\}", ".+", pattern)
            found.append((re.compile(re.sub(r"\{[^}]+\}", "[^/]+", pattern)), template))
        return found

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        for pattern, template in self._templates:
            operation = self._document["paths"][template].get(method.lower())
            if operation is not None and pattern.fullmatch(path):
                return template, operation
        return None

    def _query_problems(self, operation: dict[str, Any], query: dict[str, str]) -> Iterator[str]:
        known = {p["name"]: p for p in map(self._deref, operation.get("parameters", [])) if p["in"] == "query"}
        for name, value in query.items():
            if name not in known:
                yield f"query parameter {name} is not described"
                continue
            schema = self._deref(known[name]["schema"])
            if "enum" in schema and value not in schema["enum"]:
                yield f"query parameter {name}={value} is none of {schema['enum']}"

    def _body_problems(self, operation: dict[str, Any], body: Any) -> Iterator[str]:
        described = self._deref(operation.get("requestBody", {})).get("content", {}).get("application/json")
        if described is None:
            if body is not None:
                yield "a body was sent and none is described"
            return
        if body is None:
            if operation["requestBody"].get("required"):
                yield "no body was sent"
            return
        yield from (f"request {p}" for p in self.violations(described["schema"], body))
        yield from (f"request {name}: is not described" for name in self._undescribed(described["schema"], body))

    def _undescribed(self, schema: dict[str, Any], body: Any) -> list[str]:
        """Names we send that GitHub would silently ignore."""
        schema = self._deref(schema)
        if not isinstance(body, dict) or "properties" not in schema or schema.get("additionalProperties"):
            return []
        return sorted(body.keys() - schema["properties"].keys())

    def _answer_problems(self, operation: dict[str, Any], exchange: Exchange) -> Iterator[str]:
        answers = operation["responses"]
        if str(exchange.status) not in answers:
            yield f"status {exchange.status} is none of {sorted(answers)}"
            return
        content = self._deref(answers[str(exchange.status)]).get("content", {}).get("application/json")
        if content is None:
            if exchange.answer not in (None, ""):
                yield f"a {exchange.status} has no body, this one has"
            return
        yield from (f"answer {p}" for p in self.violations(content["schema"], exchange.answer))

    def violations(self, schema: dict[str, Any], value: Any) -> list[str]:
        """Where `value` breaks `schema`."""
        return [f"{at or '.'}: {what}" for at, what in self._check(schema, value, "")]

    def _check(self, schema: dict[str, Any], value: Any, at: str) -> list[tuple[str, str]]:
        schema = self._deref(schema)
        if value is None and schema.get("nullable"):
            return []  # also where an enum forgets null: the real GitHub sends it (state_reason, conclusion)
        found: list[tuple[str, str]] = []
        for part in schema.get("allOf", ()):
            found += self._check(part, value, at)
        found += self._check_choice(schema, value, at)
        kind = schema.get("type")
        if kind is not None and not _is(kind, value):
            return [*found, (at, f"{type(value).__name__} is not {kind}")]
        if "enum" in schema and value not in schema["enum"]:
            found.append((at, f"{value!r} is none of {schema['enum']}"))
        if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
            found.append((at, f"{value!r} does not match {schema['pattern']}"))
        if "maxLength" in schema and isinstance(value, str) and len(value) > schema["maxLength"]:
            found.append((at, f"is longer than {schema['maxLength']}"))
        if isinstance(value, dict):
            found += self._check_object(schema, value, at)
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                found += self._check(schema["items"], item, f"{at}[{index}]")
        return found

    def _check_choice(self, schema: dict[str, Any], value: Any, at: str) -> list[tuple[str, str]]:
        """At least one branch must hold. `oneOf` is read the same way: GitHub's branches overlap."""
        branches = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
        if not branches:
            return []
        tried = [self._check(branch, value, at) for branch in branches]
        # Of the branches that all fail, the one of the value's own type tells the most.
        return [] if any(not branch for branch in tried) else min(tried, key=lambda b: (b[0][0] == at, len(b)))

    def _check_object(self, schema: dict[str, Any], value: dict[str, Any], at: str) -> list[tuple[str, str]]:
        found = [(f"{at}.{name}", "is missing") for name in schema.get("required", ()) if name not in value]
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        for name, inner in value.items():
            if name in properties:
                found += self._check(properties[name], inner, f"{at}.{name}")
            elif extra is False:
                found.append((f"{at}.{name}", "is not described"))
            elif isinstance(extra, dict):
                found += self._check(extra, inner, f"{at}.{name}")
        return found

    def _deref(self, node: dict[str, Any]) -> dict[str, Any]:
        for _ in range(20):
            if "$ref" not in node:
                return node
            target: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        raise ValueError(f"a reference that leads nowhere: {node}")


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
