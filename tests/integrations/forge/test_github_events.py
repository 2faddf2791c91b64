"""Webhooks: the sender is proven, the payload is a hint, and nothing in it can break the intake."""

import hashlib
import hmac

import hypothesis
import hypothesis.strategies as st
import pytest

from domain import events, refs
from integrations.forge import github_events

SHA = "1" * 40
REPOSITORY = {"full_name": "acme/api", "id": 1}
PULL = {"number": 5, "head": {"ref": "fettle/issue-7-fix", "sha": SHA}, "merged": False}
KNOWN = [
    "issues",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_review_thread",
    "push",
    "check_run",
    "check_suite",
    "workflow_run",
    "status",
]


def payload(action: str = "", **rest: object) -> dict[str, object]:
    return {"action": action, "repository": REPOSITORY, "sender": {"login": "ada"}, "new_field": 1, **rest}


def issue(**changes: object) -> dict[str, object]:
    return {"number": 7, "labels": [{"name": "fettle"}, {"name": "bug"}], "title": "It is slow", **changes}


@pytest.mark.parametrize(
    ("action", "kind", "labels"),
    [
        ("opened", events.Kind.WORK_REQUESTED, ("fettle", "bug")),
        ("reopened", events.Kind.WORK_REQUESTED, ("fettle", "bug")),
        ("assigned", events.Kind.WORK_REQUESTED, ("fettle", "bug")),
        ("labeled", events.Kind.WORK_REQUESTED, ("fettle",)),
        ("unlabeled", events.Kind.WORK_WITHDRAWN, ("fettle",)),
        ("closed", events.Kind.WORK_WITHDRAWN, ()),
        ("transferred", events.Kind.WORK_WITHDRAWN, ()),
        ("deleted", events.Kind.WORK_WITHDRAWN, ()),
        ("edited", events.Kind.ISSUE_EDITED, ("fettle", "bug")),
    ],
)
def test_an_issue_asks_for_work_or_takes_it_back(action, kind, labels):
    (event,) = github_events.parse("issues", payload(action, issue=issue(), label={"name": "fettle"}))
    assert event == events.ForgeEvent(
        kind=kind,
        repo=refs.Repository(owner="acme", name="api"),
        issue=7,
        labels=labels,
        title="It is slow",
        actor="ada",
    )


@pytest.mark.parametrize("title", [None, ""])
def test_an_issue_without_a_title_is_an_event_all_the_same(title):
    (event,) = github_events.parse("issues", payload("opened", issue=issue(title=title)))
    assert event.title == ""


@pytest.mark.parametrize(
    ("action", "changes", "kind"),
    [
        ("synchronize", {}, events.Kind.HEAD_MOVED),
        ("reopened", {}, events.Kind.PULL_REOPENED),
        ("closed", {}, events.Kind.PULL_CLOSED),
        ("closed", {"merged": True}, events.Kind.PULL_MERGED),
        ("closed", {"merged": None, "merged_at": "2026-01-01T00:00:00Z"}, events.Kind.PULL_MERGED),
    ],
)
def test_a_pull_request_names_its_branch_and_head(action, changes, kind):
    (event,) = github_events.parse("pull_request", payload(action, pull_request=PULL | changes))
    assert (event.kind, event.pull, event.branch, event.head_sha) == (kind, 5, "fettle/issue-7-fix", SHA)
    assert event.issue is None


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("pull_request_review", "submitted"),
        ("pull_request_review", "dismissed"),
        ("pull_request_review_comment", "created"),
        ("pull_request_review_thread", "resolved"),
    ],
)
def test_a_review_wakes_its_pull_request(name, action):
    (event,) = github_events.parse(name, payload(action, pull_request=PULL))
    assert (event.kind, event.pull, event.head_sha) == (events.Kind.REVIEW_CHANGED, 5, SHA)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("check_run", {"check_run": {"head_sha": SHA, "check_suite": {"head_sha": SHA, "head_branch": "work"}}}),
        ("check_suite", {"check_suite": {"head_sha": SHA, "head_branch": "work"}}),
        ("workflow_run", {"workflow_run": {"head_sha": SHA, "head_branch": "work"}}),
    ],
)
def test_ci_names_its_branch_and_commit_when_it_has_completed(name, body):
    (event,) = github_events.parse(name, payload("completed", **body))
    assert (event.kind, event.branch, event.head_sha) == (events.Kind.CI_CHANGED, "work", SHA)
    assert github_events.parse(name, payload("requested", **body)) == []


def test_a_check_on_a_fork_has_no_branch_but_a_commit():
    suite = {"head_sha": SHA, "head_branch": None}
    (event,) = github_events.parse("check_suite", payload("completed", check_suite=suite))
    assert (event.branch, event.head_sha) == ("", SHA)


def test_a_status_wakes_every_branch_it_is_the_tip_of():
    body = payload(sha=SHA, state="success", branches=[{"name": "main"}, {"name": "fettle/issue-7"}])
    assert [event.branch for event in github_events.parse("status", body)] == ["main", "fettle/issue-7"]
    assert [event.head_sha for event in github_events.parse("status", payload(sha=SHA))] == [SHA]


def test_a_push_moves_a_branch_and_a_deletion_leaves_no_head():
    (moved,) = github_events.parse("push", payload(ref="refs/heads/fettle/issue-7", after=SHA))
    assert (moved.kind, moved.branch, moved.head_sha) == (events.Kind.HEAD_MOVED, "fettle/issue-7", SHA)
    (gone,) = github_events.parse("push", payload(ref="refs/heads/main", after="0" * 40))
    assert (gone.branch, gone.head_sha) == ("main", "")
    assert github_events.parse("push", payload(ref="refs/tags/v1", after=SHA)) == []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("issue_comment", payload("created", issue=issue(), comment={"body": "/fettle merge now"})),
        ("ping", {"zen": "Anything added dilutes everything else."}),
        ("a_later_invention", payload("created")),
        ("issues", payload("pinned", issue=issue())),
        ("issues", payload("opened", issue=issue(pull_request={"url": "x"}))),
        ("issues", payload("labeled", issue=issue())),
        ("pull_request", payload("auto_merge_enabled", pull_request=PULL)),
    ],
)
def test_what_we_do_not_act_on_is_nothing(name, body):
    assert github_events.parse(name, body) == []


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        payload("opened"),
        payload("opened", issue={"number": -1}),
        payload("opened", issue={"number": "seven"}),
        {"action": "opened", "issue": {"number": 7}, "repository": {"full_name": "../../etc"}},
        {"action": "opened", "issue": {"number": 7}, "repository": None},
    ],
)
def test_a_malformed_known_event_is_nothing(body):
    assert github_events.parse("issues", body) == []


def test_a_head_that_is_no_commit_is_nothing():
    odd = PULL | {"head": {"ref": "main", "sha": "HEAD; rm -rf"}}
    assert github_events.parse("pull_request", payload("synchronize", pull_request=odd)) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["action", "repository", "full_name", "issue", "number", "pull_request", "head", "sha", "ref"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@hypothesis.given(name=st.sampled_from(KNOWN), body=_json)
@hypothesis.settings(max_examples=200, deadline=None)
def test_no_payload_can_raise(name, body):
    assert isinstance(github_events.parse(name, body), list)


def test_a_signature_is_over_the_raw_bytes():
    body = b'{"action":  "opened"}'
    header = "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert github_events.verify_signature("key", body, header)
    assert not github_events.verify_signature("key", b'{"action": "opened"}', header)
    assert not github_events.verify_signature("another", body, header)
    assert not github_events.verify_signature("key", body, header.removeprefix("sha256="))


@pytest.mark.parametrize("header", [None, "", "sha256=", "sha1=abc", "sha256=ünïcode", "sha256=\udcff"])
def test_a_missing_or_odd_signature_is_refused(header):
    assert not github_events.verify_signature("key", b"{}", header)


def test_an_empty_secret_verifies_nothing():
    header = "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest()
    assert not github_events.verify_signature("", b"{}", header)
