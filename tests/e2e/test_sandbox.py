"""A whole installation with a sandbox that does not hold, and with one that does."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
FIX = [{"write": {"path": "answer.txt", "content": "42\n"}}, {"say": "done"}]


@pytest.fixture
async def installation(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stack]:
    made = Stack(tmp_path / "state", FETTLE_SANDBOX=request.param)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.mark.parametrize("installation", ["container"], indirect=True)
async def test_a_host_whose_sandbox_does_not_hold_claims_no_run_and_says_why(installation: Stack) -> None:
    """There is no image for the containers, so the level works nowhere."""
    assert "claims no run, its sandbox does not hold: " in installation.up()["notes"]["agents"]
    repo = await installation.repository("refused", {})
    state = await installation.ended(await installation.ask(repo, "Answer", FIX))
    assert state.change is None
    assert state.ending is not None
    assert "the level `container` has no image" in state.ending.reason or "container engine" in state.ending.reason
    assert list((installation.state / "host").glob("worktrees/*")) == []
    log = (installation.state / "logs" / "agents.log").read_text()
    assert "the sandbox does not hold on this host: it claims no run" in log
    said = await installation.fettle("doctor", "--json")
    [row] = [check for check in json.loads(said.stdout) if check["name"] == "sandbox container"]
    assert row["level"] == "fail"


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed on this machine")
@pytest.mark.parametrize("installation", ["bubblewrap"], indirect=True)
async def test_a_run_is_merged_that_was_worked_on_in_the_sandbox(installation: Stack) -> None:
    repo = await installation.repository("walled", {}, verify_command="test $(id -un) = agent && test -s answer.txt")
    state = await installation.merged(await installation.ask(repo, "Answer", FIX))
    assert state.merge.merged_sha
