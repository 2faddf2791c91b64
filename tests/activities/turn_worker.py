"""An agent host as a process of its own: a worker that tests can stop and kill, and the smallest workflow for a turn.

Run as `python -m tests.activities.turn_worker ADDRESS QUEUE FOLDER`; TERM lets it end gracefully.
"""

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

from temporalio import client, common, worker, workflow
from temporalio.contrib.pydantic import pydantic_data_converter

with workflow.unsafe.imports_passed_through():
    from activities import edge
    from domain import agent, wire
    from tests.activities.agent_host import Host


@workflow.defn(name="OneTurn")
class OneTurnWorkflow:
    @workflow.run
    async def run(self, request: agent.TurnRequest) -> agent.TurnResult:
        return await workflow.execute_activity(
            wire.RUN_AGENT,
            request,
            result_type=agent.TurnResult,
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=8),  # no busy machine is silent for so long
            retry_policy=common.RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=4),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


async def main(address: str, queue: str, folder: Path) -> None:
    host = Host(folder / "state", folder / "state" / "worktrees" / "w" / "repo", folder / "script.json")
    temporal = await client.Client.connect(address, data_converter=pydantic_data_converter)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker.Worker(
        temporal,
        task_queue=queue,
        workflows=[OneTurnWorkflow],
        activities=[host.activities().run_agent],
        interceptors=[edge.ErrorTranslation()],
        graceful_shutdown_timeout=timedelta(seconds=20),
        max_heartbeat_throttle_interval=timedelta(milliseconds=200),
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
