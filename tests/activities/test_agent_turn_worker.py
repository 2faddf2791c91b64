"""A turn on a real server, its worker a process that is stopped, killed, or told to cancel."""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio import client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from domain import agent
from tests.activities.agent_host import Host, processes_in
from tests.activities.turn_worker import OneTurnWorkflow

ROOT = Path(__file__).parents[2]
GO = "../go"
STEPS: list[dict[str, Any]] = [
    {"append": {"path": "log", "content": "one\n"}},
    {"cost": 0.25},
    {"commit": {"message": "One"}},
    {"spawn_orphan": {"seconds": 300, "path": "ticks"}},
    {"wait_for_file": {"path": GO, "seconds": 40}},
    {"append": {"path": "log", "content": "two\n"}},
    {"commit": {"message": "Two"}},
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=os.environ.get("FETTLE_TEMPORAL_CLI")
        or str(Path(sys.executable).with_name("temporal")),
        dev_server_log_level="error",
        dev_server_startup_timeout=timedelta(seconds=30),
        data_converter=pydantic_data_converter,
    ) as environment:
        yield environment


class Fleet:
    """One host's directory and the workers that a test starts on it."""

    def __init__(self, server: WorkflowEnvironment, folder: Path) -> None:
        self.host = Host.at(folder)
        self.folder = folder
        self.queue = f"turn-{uuid.uuid4()}"
        self.temporal = server.client
        self.started: list[asyncio.subprocess.Process] = []

    async def start_worker(self) -> asyncio.subprocess.Process:
        address = self.temporal.service_client.config.target_host
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.activities.turn_worker", address, self.queue, str(self.folder)), cwd=ROOT
        )
        self.started.append(worker)
        return worker

    async def start_turn(
        self, request: agent.TurnRequest
    ) -> "client.WorkflowHandle[OneTurnWorkflow, agent.TurnResult]":
        return await self.temporal.start_workflow(
            OneTurnWorkflow.run, request, id=f"one/{uuid.uuid4()}", task_queue=self.queue
        )

    async def ticking(self) -> None:
        """Wait until the turn is in its middle: its orphan writes, its agent waits."""
        async with asyncio.timeout(30):
            while not await asyncio.to_thread((self.host.worktree / "ticks").exists):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)


@asynccontextmanager
async def fleet(server: WorkflowEnvironment, folder: Path) -> AsyncIterator[Fleet]:
    made = Fleet(server, folder)
    try:
        yield made
    finally:
        for worker in made.started:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()


async def quiescent(folder: Path, seconds: float) -> bool:
    """Whether no process works below `folder` within `seconds`; they are nobody's children, so none tells us."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if not processes_in(folder):
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_turn_survives_its_worker_and_plays_each_step_once(
    server: WorkflowEnvironment, tmp_path: Path, how: signal.Signals
) -> None:
    async with fleet(server, tmp_path) as made:
        made.host.play(STEPS)
        request = made.host.request(limits=agent.Limits(stop_grace_seconds=1))
        first = await made.start_worker()
        handle = await made.start_turn(request)
        await made.ticking()
        first.send_signal(how)
        await first.wait()
        assert await quiescent(made.host.worktree, 15 if how is signal.SIGKILL else 0.5)
        (made.host.worktree / "ticks").unlink()
        (made.host.worktree.parent / "go").touch()
        await made.start_worker()
        result = await handle.result()
    assert (result.outcome, result.resumed_after_loss) == (agent.Outcome.FINISHED, True)
    assert result.session.id == request.session.id
    assert (result.cost_usd, result.turn_cost_usd) == (0.25, 0.25)
    assert (made.host.worktree / "log").read_text() == "one\ntwo\n"
    assert made.host.commits() == ["Two", "One", "begin"]
    starts = [line["resumed"] for line in made.host.transcript() if line["type"] == "session"]
    assert starts == [False, True]
    assert processes_in(made.host.worktree) == []


async def test_a_cancelled_workflow_ends_when_the_agents_last_process_has(
    server: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with fleet(server, tmp_path) as made:
        made.host.play(STEPS)
        await made.start_worker()
        handle = await made.start_turn(made.host.request())
        await made.ticking()
        began = asyncio.get_running_loop().time()
        await handle.cancel()
        with pytest.raises(client.WorkflowFailureError):
            await handle.result()
        assert processes_in(made.host.worktree) == []
        size = (made.host.worktree / "ticks").stat().st_size
        assert asyncio.get_running_loop().time() - began < 20
        await asyncio.sleep(0.1)  # the orphan wrote every 20 ms
        assert (made.host.worktree / "ticks").stat().st_size == size


async def test_a_failed_turn_reaches_the_workflow_by_its_type_and_in_words(
    server: WorkflowEnvironment, tmp_path: Path
) -> None:
    async with fleet(server, tmp_path) as made:
        made.host.play([{"wait_for_file": {"path": GO, "seconds": 0.1}}])
        await made.start_worker()
        handle = await made.start_turn(made.host.request())
        with pytest.raises(client.WorkflowFailureError) as raised:
            await handle.result()
        failure = raised.value.cause.cause  # type: ignore[union-attr]
        assert getattr(failure, "type", "") == "AgentCrashed"
        assert "did not appear within 0.1 s" in str(failure)
