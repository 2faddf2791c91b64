"""Record histories of runs that wait for each other's files: `python -m tests.workflows.record_leases`.

As with `tests.workflows.record`, a recording that exists is never overwritten, and new scenarios add files.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from temporalio.testing import WorkflowEnvironment

from domain import refs, run, tasks, wire
from tests.workflows import installation, record
from tests.workflows.installation import Installation
from tests.workflows.record import Recorded


async def files_waited_for(fettle: Installation) -> Recorded:
    """The second run waits for the first one's files, the third one passes it, the fourth is let go on by a person."""
    world = fettle.world("totals")
    world.collisions = {(1, 2): 0.46, (2, 4): 0.3}
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1, "Fix the totals"))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2, "Round the totals"))
    await second.until(lambda s: s.waits_for_files)
    third = await fettle.start(world.issue(3, "Send the mail"))
    await third.ended()
    fourth = await fettle.start(world.issue(4, "Total the rounds"))
    await fourth.until(lambda s: s.waits_for_files)
    await fourth.release()
    await fourth.ended()
    await second.quiet()
    stop.open.set()
    await asyncio.gather(first.ended(), second.ended())
    await second.place_is_free()
    return {
        "issue": fourth.issue.workflow_id,
        "repository": refs.repository_workflow_id(world.repo),
    }


async def forecast_missing(fettle: Installation) -> Recorded:
    """No host can answer, and a question that has become needless is taken back."""
    world = fettle.world("totals")
    world.before[wire.PREDICT_CONFLICTS] = deque([OSError("no disk"), OSError("no disk")])
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1, "Fix the totals"))
    await stop.reached.wait()
    second = await fettle.start(world.issue(2, "Round the totals"))
    assert (await second.ended()).phase is run.Phase.DONE
    await second.place_is_free()
    asked = world.stop(wire.PREDICT_CONFLICTS)
    third = await fettle.start(world.issue(3, "Send the mail"))
    await asked.reached.wait()
    stop.open.set()
    await asyncio.gather(first.ended(), third.ended())
    await third.place_is_free()
    return {"repository": refs.repository_workflow_id(world.repo)}


async def asked_before_leases(fettle: Installation) -> Recorded:
    """Requests as they were made before path leases, beside each other and in line: they say nothing of collisions."""
    repo = fettle.world("totals").repo
    place = refs.repository_workflow_id(repo)
    entity = await fettle.temporal.start_workflow(
        wire.REPOSITORY_WORKFLOW, {"repo": repo.model_dump()}, id=place, task_queue=wire.CONTROL_QUEUE
    )
    asked = [{"run": repo.issue(number).workflow_id, "priority": 3, "max_in_flight": 2} for number in (1, 2, 3)]
    answers = [await entity.execute_update(wire.ADMIT, each, result_type=tasks.Admission) for each in asked]
    assert [each.granted for each in answers] == [True, True, False]
    for each in asked[:2]:
        await entity.signal(wire.ADMISSION_ENDED, each["run"])
    await fettle.run(repo.issue(3)).place_is_free()  # nobody is there to use its place
    return {"repository": place}


SCENARIOS: Final[Mapping[str, Callable[[Installation], Awaitable[Recorded]]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (files_waited_for, forecast_missing, asked_before_leases)
}


async def main() -> None:
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        installation.installed(await installation.connect(env)) as fettle,
    ):
        for name, scenario in SCENARIOS.items():
            for path in await record.record(fettle.temporal, name, await scenario(fettle)):
                sys.stdout.write(f"{path.relative_to(record.FOLDER)}\n")


if __name__ == "__main__":
    asyncio.run(main())
