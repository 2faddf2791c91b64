"""Waits that are given up: what their call made is never forgotten."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio import activity, client, worker
from temporalio.exceptions import ActivityError, ApplicationError

from tests.workflows.installation import Installation
from tests.workflows.patient import Patient
from tests.workflows.runs import eventually


class Call:
    """An activity whose attempts end when, and how, a test says."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.answer = ""

    @activity.defn(name="look")
    async def look(self) -> str:
        self.begun.set()
        await self.end.wait()
        if not self.answer:
            raise ApplicationError("not yet")
        return self.answer


@asynccontextmanager
async def waiting(fettle: Installation, call: Call) -> AsyncIterator[client.WorkflowHandle[Patient, str | None]]:
    queue = f"patient-{uuid.uuid4()}"
    async with worker.Worker(fettle.temporal, task_queue=queue, workflows=[Patient], activities=[call.look]):
        yield await fettle.temporal.start_workflow(Patient.run, id=queue, task_queue=queue)


async def cancel_requested(handle: client.WorkflowHandle[Patient, str | None]) -> None:
    async def asked() -> bool:
        return "ACTIVITY_TASK_CANCEL_REQUESTED" in str((await handle.fetch_history()).to_json())

    await eventually(asked)


@pytest.mark.parametrize("answer", ["", "granted"])
async def test_an_attempt_that_is_under_way_when_nobody_waits_any_more_has_the_last_word(
    fettle: Installation, answer: str
) -> None:
    call = Call()
    async with waiting(fettle, call) as handle:
        await call.begun.wait()
        await handle.signal(Patient.stop)
        await cancel_requested(handle)
        call.answer = answer
        call.end.set()
        assert await handle.result() == (answer or None)


async def test_a_call_between_two_attempts_is_given_up_at_once(fettle: Installation) -> None:
    call = Call()
    call.end.set()
    async with waiting(fettle, call) as handle:
        await call.begun.wait()
        await handle.signal(Patient.stop)
        assert await handle.result() is None


async def test_the_end_of_the_workflow_is_no_word_of_the_call(fettle: Installation) -> None:
    call = Call()
    async with waiting(fettle, call) as handle:
        await call.begun.wait()
        await handle.cancel()
        await cancel_requested(handle)
        call.end.set()
        with pytest.raises(client.WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, ActivityError)
