"""Forecasts of collisions by real mirrors, real issues' texts and the real code graph; what is missing is said."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import code_graph, path_leases
from domain import errors, forge, policy, redaction, refs
from domain import path_leases as leases
from tests.activities.test_code_graph import SOURCES
from tests.integrations.git.lab import REPO, FileForge, Lab, git

TEXTS = {
    1: ("The invoice total is rounded twice", "invoice_total() in src/billing/totals.py gives a wrong sum of lines."),
    2: ("invoice_total() fails on an empty invoice", "See src/billing/totals.py: the sum of no lines has no total."),
    3: ("Send the message again when the sender fails", "send() in src/mail/sender.py gives up at once."),
}
LIMIT = policy.RepositoryPolicy().max_collision


class IssueForge(FileForge):
    """A forge with issues; one that it is not told of does not exist."""

    async def issue(self, issue: refs.Issue) -> forge.Issue:
        if issue.number not in TEXTS:
            raise errors.NotFound(f"{issue} is gone")
        title, body = TEXTS[issue.number]
        return forge.Issue(ref=issue, title=title, body=body, open=True)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.first = made.push(SOURCES)
    made.forge = IssueForge(made.root / "forge")
    return made


WORK = {"src/mail/sender.py": "def send(message):\n    return retry(message)\n"}
"""What the run of issue 1 did in the end, whatever its text says."""


def run_id(number: int) -> str:
    return REPO.issue(number).workflow_id


async def forecast(
    lab: Lab, run: int, *others: int, graph: bool = True, base: str = "main", **more: Any
) -> leases.Forecast:
    redactor = redaction.Redactor(frozenset())
    known = code_graph.CodeGraph(lab.mirrors, redactor, **more) if graph else None
    activities = path_leases.PathLeaseActivities(lab.forge, lab.mirrors, redactor, known)  # type: ignore[arg-type] # the methods it uses
    question = leases.Question(repo=REPO, run=run_id(run), others=tuple(map(run_id, others)), base_branch=base)
    return await ActivityEnvironment().run(activities.predict_conflicts, question)


async def test_texts_about_one_file_collide_and_others_do_not(lab: Lab) -> None:
    """On a host that has never seen the repository."""
    found = await forecast(lab, 2, 1, 3)
    assert found.missing == ""
    same, apart = found.pairs
    assert same.run == run_id(1)
    assert same.probability > LIMIT > apart.probability
    assert same.files[0] == "src/billing/totals.py"


async def test_what_a_run_has_pushed_counts_and_not_what_its_issue_says(lab: Lab) -> None:
    lab.push(WORK, branch="fettle/issue-1-the-invoice-total")
    found = await forecast(lab, 3, 1)
    assert found.pairs[0].probability > LIMIT
    assert found.pairs[0].files == ("src/mail/sender.py",)
    assert (await forecast(lab, 2, 1)).pairs[0].probability < LIMIT


async def test_a_branch_that_adds_nothing_to_the_base_leaves_the_text(lab: Lab) -> None:
    """It was merged; and issue 12 is not issue 1."""
    git(lab.person, "push", "--quiet", "origin", f"{lab.first}:refs/heads/fettle/issue-1-old")
    lab.push(WORK, branch="fettle/issue-12-of-another-issue")
    found = await forecast(lab, 2, 1)
    assert found.pairs[0].files[0] == "src/billing/totals.py"


async def test_an_issue_that_is_gone_costs_its_pair_alone(lab: Lab) -> None:
    found = await forecast(lab, 2, 9, 1)
    gone, same = found.pairs
    assert (gone.run, gone.probability) == (run_id(9), 0)
    assert found.gaps() == "acme/api#9: the text of its issue could not be read"
    assert same.probability > LIMIT


async def test_where_no_other_issue_can_be_read_that_is_the_reason(lab: Lab) -> None:
    found = await forecast(lab, 2, 9)
    assert found.gaps() == "acme/api#9: the text of its issue could not be read"


async def test_a_secret_in_the_name_of_a_file_is_masked_also_where_invisible_characters_break_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "ghp_" + "a1B2" * 9
    lab.push({f"src/mail/{token[:12]}\u200b{token[12:]}/postbox.py": "def post(message):\n    return message\n"})
    for number in (4, 5):
        text = ("The postbox loses the message", "post(message) in postbox.py returns nothing.")
        monkeypatch.setitem(TEXTS, number, text)
    files = (await forecast(lab, 4, 5)).pairs[0].files
    assert files[0].endswith("/postbox.py")
    assert token not in files[0]


async def test_a_fetch_that_takes_long_is_not_cut_short_and_the_next_question_finds_what_it_brought(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first fetch of a large repository: cut short, it would leave half of a pack behind, each time."""
    slow, gate, calls = tmp_path / "slow", tmp_path / "gate", tmp_path / "calls"
    slow.mkdir()
    (slow / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *" fetch --prune "*) echo called >> {calls}; '
        f'while [ ! -e {gate} ]; do sleep 0.02; done;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    (slow / "git").chmod(0o755)
    redactor = redaction.Redactor(frozenset())
    graph = code_graph.CodeGraph(lab.mirrors, redactor)
    activities = path_leases.PathLeaseActivities(lab.forge, lab.mirrors, redactor, graph)  # type: ignore[arg-type] # the methods it uses
    question = leases.Question(repo=REPO, run=run_id(2), others=(run_id(1),), base_branch="main")
    with monkeypatch.context() as patched:
        patched.setattr(path_leases, "_FETCH_SECONDS", 0.3)
        patched.setenv("PATH", f"{slow}{os.pathsep}{os.environ['PATH']}")
        found = await ActivityEnvironment().run(activities.predict_conflicts, question)
        assert found.missing == "the repository was not fetched after 0.3 s"
        async with asyncio.timeout(20):  # it is started with the PATH of that moment
            while not calls.exists():  # noqa: ASYNC110 - another process writes, and tells nobody
                await asyncio.sleep(0.02)
    gate.touch()
    found = await ActivityEnvironment().run(activities.predict_conflicts, question)
    assert found.pairs[0].probability > LIMIT
    assert calls.read_text() == "called\n"


@pytest.mark.parametrize(
    ("run", "more", "missing"),
    [
        (9, {}, "the text of its issue could not be read"),
        (2, {"graph": False}, "the code graph is switched off on the host that was asked"),
        (2, {"seconds": 0.01}, "it was not ready after 0.01 s"),
        (2, {"base": "trunk"}, "the forge has no branch trunk"),
        (2, {"base": "--upload-pack=x"}, "the repository could not be fetched"),
    ],
)
async def test_what_cannot_be_known_comes_with_the_reason(
    lab: Lab, run: int, more: dict[str, Any], missing: str
) -> None:
    assert await forecast(lab, run, 1, **more) == leases.Forecast(missing=missing)


async def test_a_forge_that_is_away_is_a_reason_too(lab: Lab) -> None:
    lab.bare.rename(lab.bare.with_name("away.git"))
    assert await forecast(lab, 2, 1) == leases.Forecast(missing="the repository could not be fetched")
