"""A workflow that waits for one call, and is asked not to."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows import watching


@workflow.defn
class Patient:
    def __init__(self) -> None:
        self._asked = False

    @workflow.signal
    def stop(self) -> None:
        self._asked = True

    @workflow.run
    async def run(self) -> str | None:
        call = workflow.start_activity(
            "look",
            result_type=str,
            start_to_close_timeout=timedelta(seconds=60),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return await watching.finished_unless(call, lambda: self._asked)
