"""A workflow and an activity that do nothing but log."""

from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import structlog


@activity.defn
async def talk() -> None:
    activity.logger.info("said by the SDK's logger")
    structlog.stdlib.get_logger("fettle.test").info("said by structlog", token="hunter2-hunter2")


@workflow.defn
class TalkingWorkflow:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.info("said by a workflow about %s", "hunter2-hunter2")
        await workflow.execute_activity(talk, start_to_close_timeout=timedelta(seconds=10))
