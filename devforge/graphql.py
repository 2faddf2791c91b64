"""A sliver of GitHub's GraphQL: draft and ready, and reading one pull request. All else is refused in words."""

import re
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devforge import auth, database, errors, pull_events, pull_facts, pulls, repositories, rest, shapes

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\.\.\.|[!$():=@\[\]{}|&]|[_A-Za-z][_0-9A-Za-z]*|-?\d+(?:\.\d+)?')
_IGNORED = re.compile(r"(?:[\s,\ufeff]+|#[^\n]*)*")
_DRAFT = {"markPullRequestReadyForReview": False, "convertPullRequestToDraft": True}


class Unreadable(Exception):
    """The document is no GraphQL that this forge reads; the text says why."""


@dataclass
class Field:
    """One selected field."""

    name: str
    alias: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fields: list["Field"] = field(default_factory=list)


class _Parser:
    """Reads one operation with fields, aliases, arguments and variables; no fragments, no directives."""

    def __init__(self, text: str, variables: dict[str, Any]) -> None:
        self._tokens = _tokens(text)
        self._variables = variables
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self, expected: str | None = None) -> str:
        token = self._peek()
        if not token or (expected is not None and token != expected):
            raise Unreadable(f"Expected {expected or 'a token'}, found {token or 'the end'}")
        self._at += 1
        return token

    def operation(self) -> tuple[str, list[Field]]:
        """The kind of the operation, and what it selects."""
        kind = "query"
        if self._peek() != "{":
            kind = self._next()
            if kind not in ("query", "mutation"):
                raise Unreadable(f"Unsupported operation {kind}")
            while self._peek() != "{":
                self._next()
        found = self.selection()
        if self._peek():
            raise Unreadable("Only one operation a document is supported")
        return kind, found

    def selection(self) -> list[Field]:
        """The fields between braces."""
        self._next("{")
        found = []
        while self._peek() != "}":
            name = self._next()
            if not name.isidentifier():
                raise Unreadable(f"Unsupported syntax at {name}: fragments and directives are not read here")
            alias = name
            if self._peek() == ":":
                self._next()
                name = self._next()
            item = Field(name, alias)
            if self._peek() == "(":
                item.arguments = self._pairs("(", ")")
            if self._peek() == "{":
                item.fields = self.selection()
            found.append(item)
        self._next("}")
        return found

    def _pairs(self, start: str, end: str) -> dict[str, Any]:
        self._next(start)
        found = {}
        while self._peek() != end:
            name = self._next()
            self._next(":")
            found[name] = self._value()
        self._next(end)
        return found

    def _value(self) -> Any:
        token = self._peek()
        if token == "{":
            return self._pairs("{", "}")
        self._next()
        if token == "$":
            name = self._next()
            if name not in self._variables:
                raise Unreadable(f"Variable ${name} was not provided")
            return self._variables[name]
        if token.startswith('"'):
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        words = {"true": True, "false": False, "null": None}
        if token in words:
            return words[token]
        return int(token) if token.lstrip("-").isdigit() else token


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    position = 0
    while True:
        ignored = _IGNORED.match(text, position)
        position = ignored.end() if ignored else position
        if position >= len(text):
            return found
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"Unexpected character {text[position]!r}")
        found.append(match[0])
        position = match.end()


def _pick(value: Any, fields: list[Field], kind: str) -> Any:
    """The selected part of a resolved object.

    Raises:
        Unreadable: a field that the type does not have here.
    """
    if not isinstance(value, dict) or not fields:
        return value
    found = {}
    for item in fields:
        if item.name == "__typename":
            found[item.alias] = kind
        elif item.name not in value:
            raise Unreadable(f"Field '{item.name}' doesn't exist on type '{kind}'")
        else:
            found[item.alias] = _pick(value[item.name], item.fields, item.name[:1].upper() + item.name[1:])
    return found


async def _pull(call: rest.Call, row: database.Row) -> dict[str, Any]:
    """The fields of a pull request that this forge knows."""
    repo = repositories.get_row(call.forge, row["repo_id"])
    facts = await pull_facts.compute(call.forge, repo, row)
    state = "MERGED" if row["merged_at"] else row["state"].upper()
    mergeable = "UNKNOWN" if state != "OPEN" else "MERGEABLE" if facts.mergeable else "CONFLICTING"
    return {
        "id": shapes.node("PR", row["id"]),
        "number": row["number"],
        "title": row["title"],
        "url": shapes.page(call.forge, repo, f"pull/{row['number']}"),
        "state": state,
        "isDraft": bool(row["draft"]),
        "merged": state == "MERGED",
        "mergedAt": row["merged_at"],
        "mergeable": mergeable,
        "mergeStateStatus": pull_facts.merge_state(call.forge, repo, row, facts).upper(),
        "headRefName": row["head_ref"],
        "headRefOid": row["head_sha"],
        "baseRefName": row["base_ref"],
        "baseRefOid": row["base_sha"],
        "mergeCommit": {"oid": row["merge_sha"]} if row["merge_sha"] else None,
    }


async def _mutate(call: rest.Call, item: Field) -> Any:
    """Run one draft mutation."""
    given = item.arguments.get("input")
    node = str(given.get("pullRequestId", "")) if isinstance(given, dict) else ""
    tail = node.removeprefix("PR_")
    row = call.db.one(f"{pull_events.SELECT} WHERE i.id = ?", int(tail)) if tail.isdigit() and tail != node else None
    if row is None or not _may(call, row, "pull_requests:read"):
        raise LookupError(f"Could not resolve to a node with the global id of '{node}'")
    repo = repositories.get_row(call.forge, row["repo_id"])
    if row["user_id"] != call.who.user_id and not _may(call, row, "pull_requests:write"):
        raise PermissionError(f"{call.who.login} does not have the correct permissions to execute `{item.name}`")
    if row["state"] != "open":
        raise LookupError("The pull request is closed")
    pulls.set_draft(call, repo, row, _DRAFT[item.name])
    fresh = pull_events.get(call.forge, row["id"])
    return _pick(
        {"pullRequest": await _pull(call, fresh), "clientMutationId": (given or {}).get("clientMutationId")},
        item.fields,
        item.name[:1].upper() + item.name[1:] + "Payload",
    )


def _may(call: rest.Call, row: database.Row, need: str) -> bool:
    return auth.allows(call.forge, call.who, repositories.get_row(call.forge, row["repo_id"]), need)


async def _query(call: rest.Call, item: Field) -> Any:
    """Read one pull request of a repository, or who is calling."""
    if item.name == "viewer":
        return _pick({"login": call.who.login}, item.fields, "User")
    if item.name != "repository":
        raise Unreadable(f"Field '{item.name}' doesn't exist on type 'Query'")
    found = {}
    for inner in item.fields:
        if inner.name != "pullRequest":
            raise Unreadable(f"Field '{inner.name}' doesn't exist on type 'Repository'")
        row = call.db.one(
            f"{pull_events.SELECT} JOIN repositories r ON r.id = i.repo_id JOIN users u ON u.id = r.owner_id "
            "WHERE u.login = ? AND r.name = ? AND i.number = ?",
            item.arguments.get("owner"),
            item.arguments.get("name"),
            inner.arguments.get("number"),
        )
        if row is None or not _may(call, row, "pull_requests:read"):
            raise LookupError(f"Could not resolve to a PullRequest with the number of {inner.arguments.get('number')}.")
        found[inner.alias] = _pick(await _pull(call, row), inner.fields, "PullRequest")
    return found


def _error(kind: str, message: str, path: list[str]) -> Response:
    body: dict[str, Any] = {"errors": [{"type": kind, "path": path, "message": message}]}
    if kind != "UNSUPPORTED":
        body = {"data": dict.fromkeys(path[:1]), **body}
    return rest.answer(body)


async def execute(call: rest.Call) -> Response:
    """POST /graphql"""
    if call.who.kind in ("anonymous", "app"):
        raise errors.ApiError(401, "This endpoint requires you to be authenticated.")
    variables = call.data.get("variables") or {}
    path: list[str] = []
    try:
        kind, items = _Parser(
            call.text("query", "GraphQL"), variables if isinstance(variables, dict) else {}
        ).operation()
        found = {}
        for item in items:
            path = [item.alias]
            if kind == "mutation" and item.name not in _DRAFT:
                raise Unreadable(f"Field '{item.name}' doesn't exist on type 'Mutation'")
            found[item.alias] = await (_mutate if kind == "mutation" else _query)(call, item)
    except Unreadable as bad:
        return _error("UNSUPPORTED", str(bad), path)
    except LookupError as missing:
        return _error("NOT_FOUND", str(missing.args[0]), path)
    except PermissionError as refused:
        return _error("FORBIDDEN", str(refused), path)
    return rest.answer({"data": found})


ROUTES: list[Route] = [rest.route("POST", "/graphql", execute)]
