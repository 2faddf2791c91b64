"""Our reading of GitHub accepts what GitHub itself shows as examples."""

import collections

import pytest

from domain import events, forge
from integrations.forge import github_events
from integrations.forge import github_models as models

REPO = "/repos/{owner}/{repo}"
ISSUE = f"{REPO}/issues/{{issue_number}}"
PULL = f"{REPO}/pulls/{{pull_number}}"
READ = [
    ("GET", REPO, "200", models.Repository, ""),
    ("GET", f"{REPO}/issues", "200", models.Issue, "*"),
    ("GET", ISSUE, "200", models.Issue, ""),
    ("GET", f"{ISSUE}/comments", "200", models.Comment, "*"),
    ("POST", f"{ISSUE}/comments", "201", models.Comment, ""),
    ("GET", f"{ISSUE}/labels", "200", models.Named, "*"),
    ("GET", f"{ISSUE}/events", "200", models.Event, "*"),
    ("GET", f"{REPO}/collaborators/{{username}}/permission", "200", models.Permission, ""),
    ("GET", f"{REPO}/git/ref/{{ref}}", "200", models.Ref, ""),
    ("GET", f"{REPO}/git/commits/{{commit_sha}}", "200", models.TreeHolder, ""),
    ("GET", f"{REPO}/compare/{{basehead}}", "200", models.Comparison, ""),
    ("GET", f"{REPO}/commits", "200", models.Commit, "*"),
    ("POST", f"{REPO}/merges", "201", models.Commit, ""),
    ("GET", f"{REPO}/pulls", "200", models.Pull, "*"),
    ("POST", f"{REPO}/pulls", "201", models.Pull, ""),
    ("GET", PULL, "200", models.Pull, ""),
    ("PATCH", PULL, "200", models.Pull, ""),
    ("PUT", f"{PULL}/merge", "200", models.MergeAnswer, ""),
    ("GET", f"{PULL}/reviews", "200", models.Comment, "*"),
    ("GET", f"{REPO}/commits/{{ref}}/check-runs", "200", models.CheckRun, "check_runs"),
    ("GET", f"{REPO}/commits/{{ref}}/status", "200", models.Status, "statuses"),
    ("GET", f"{REPO}/rules/branches/{{branch}}", "200", models.Rule, "*"),
    ("GET", f"{REPO}/branches/{{branch}}", "200", models.Branch, ""),
    ("GET", f"{REPO}/branches/{{branch}}/protection", "200", models.Protection, ""),
]


@pytest.mark.parametrize(("method", "template", "status", "model", "under"), READ)
def test_every_answer_we_read_can_be_read(github_description, method, template, status, model, under):
    examples = github_description.examples(method, template, status)
    assert examples
    for example in examples:
        for item in example if under == "*" else example[under] if under else [example]:
            model.model_validate(item)


def test_the_classic_protection_of_the_example_asks_for_its_check(github_description):
    (example,) = github_description.examples("GET", f"{REPO}/branches/{{branch}}/protection", "200")
    protection = models.Protection.model_validate(example)
    assert protection.required_status_checks is not None
    assert protection.required_status_checks.facts() == [forge.RequiredCheck(name="continuous-integration/travis-ci")]


def test_every_delivery_is_taken_and_those_we_act_on_have_an_event(github_deliveries):
    seen = collections.Counter(
        (delivery["name"], event.kind)
        for delivery in github_deliveries
        for payload in delivery["examples"]
        for event in github_events.parse(delivery["name"], payload)
    )
    expected = {
        ("issues", events.Kind.WORK_REQUESTED): 10,
        ("issues", events.Kind.WORK_WITHDRAWN): 4,
        ("issues", events.Kind.ISSUE_EDITED): 3,
        ("pull_request", events.Kind.HEAD_MOVED): 1,
        ("pull_request", events.Kind.PULL_REOPENED): 2,
        ("pull_request", events.Kind.PULL_CLOSED): 2,
        ("pull_request_review", events.Kind.REVIEW_CHANGED): 4,
        ("pull_request_review_comment", events.Kind.REVIEW_CHANGED): 5,
        ("pull_request_review_thread", events.Kind.REVIEW_CHANGED): 3,
        ("push", events.Kind.HEAD_MOVED): 2,
        ("check_run", events.Kind.CI_CHANGED): 3,
        ("check_suite", events.Kind.CI_CHANGED): 4,
        ("workflow_run", events.Kind.CI_CHANGED): 3,
        ("status", events.Kind.CI_CHANGED): 10,
    }
    assert seen == expected
