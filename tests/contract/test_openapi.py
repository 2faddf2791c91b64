"""The checker itself finds what is wrong, on a description small enough to see through."""

import pytest

from tests.contract import openapi

ISSUE = {
    "type": "object",
    "required": ["number", "state"],
    "properties": {
        "number": {"type": "integer"},
        "state": {"type": "string", "enum": ["open", "closed"]},
        "state_reason": {"type": "string", "nullable": True, "enum": ["completed", "not_planned"]},
        "body": {"type": "string", "nullable": True},
        "labels": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/label"}]}},
    },
}
DOCUMENT = {
    "components": {
        "schemas": {
            "issue": ISSUE,
            "label": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        }
    },
    "paths": {
        "/repos/{owner}/{repo}/issues/{issue_number}": {
            "patch": {
                "parameters": [
                    {"name": "owner", "in": "path"},
                    {"name": "how", "in": "query", "schema": {"type": "string", "enum": ["fast"]}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"type": "object", "properties": {"state": {}}}}},
                },
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/issue"}}}}
                },
            }
        },
        "/repos/{owner}/{repo}/git/refs/{ref}": {"delete": {"responses": {"204": {"description": "gone"}}}},
    },
}
GOOD = {"number": 7, "state": "open", "state_reason": None, "body": None, "labels": ["a", {"name": "b"}], "new": 1}


def exchange(**changes):
    asked = {
        "method": "PATCH",
        "path": "/repos/acme/api/issues/7",
        "query": {},
        "body": {"state": "open"},
        "status": 200,
        "answer": GOOD,
    }
    return openapi.Exchange(**(asked | changes))


def test_a_described_exchange_has_no_problem():
    assert openapi.Description(DOCUMENT).problems(exchange()) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"path": "/repos/acme/api/issue/7"}, "is no operation"),
        ({"method": "PUT"}, "is no operation"),
        ({"query": {"page": "1"}}, "page is not described"),
        ({"query": {"how": "slow"}}, "how=slow is none of"),
        ({"body": None}, "no body was sent"),
        ({"body": {"stat": "open"}}, "stat: is not described"),
        ({"body": []}, "list is not object"),
        ({"status": 201}, "status 201 is none of"),
        ({"answer": {"state": "open"}}, ".number: is missing"),
        ({"answer": GOOD | {"number": "7"}}, ".number: str is not integer"),
        ({"answer": GOOD | {"number": True}}, ".number: bool is not integer"),
        ({"answer": GOOD | {"state": "ajar"}}, ".state: 'ajar' is none of"),
        ({"answer": GOOD | {"state": None}}, ".state: NoneType is not string"),
        ({"answer": GOOD | {"state_reason": "bored"}}, ".state_reason: 'bored' is none of"),
        ({"answer": GOOD | {"labels": [{"nam": "b"}]}}, ".labels[0].name: is missing"),
    ],
)
def test_a_deviation_is_named(changes, problem):
    found = openapi.Description(DOCUMENT).problems(exchange(**changes))
    assert [problem in text for text in found] == [True]


def test_a_ref_may_hold_slashes_and_a_204_has_no_body():
    gone = {"method": "DELETE", "path": "/repos/acme/api/git/refs/heads/fettle/x", "body": None, "status": 204}
    description = openapi.Description(DOCUMENT)
    assert description.problems(exchange(**gone, answer=None)) == []
    assert len(description.problems(exchange(**gone, answer={}))) == 1
