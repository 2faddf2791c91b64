"""Record histories of breakdowns for the replay test: `python -m tests.workflows.record_breakdown`.

As with `tests.workflows.record`, a recording that exists is never overwritten, and new scenarios add files.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from temporalio import client
from temporalio.testing import WorkflowEnvironment

from domain import breakdown
from tests.workflows import breakdown_desk, installation, record
from tests.workflows.breakdown_desk import REPO, Office

_ADVICE: Final = {
    "issues": [
        {"title": "Store the invoices", "body": "One row each.", "labels": ["bug"]},
        {"title": "Render them", "body": "As PDF.", "depends_on": [1]},
    ],
    "left_out": ["the history"],
}
_ID: Final = breakdown.workflow_id(REPO, "SPEC.md")


async def proposed_by_rules(office: Office) -> None:
    await office.run()


async def filed_with_checklist(office: Office) -> None:
    office.desk.add("Keeps the checklist")
    await office.run(apply=True, tracking=1)


async def filed_as_a_model_proposed(office: Office) -> None:
    office.choose_judge("scripted")
    await office.run(apply=True)


async def refused(office: Office) -> None:
    office.choose_judge("none")
    await office.run("Prose.")


async def cancelled_while_filing(office: Office) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    office.desk.on_filing = wait
    handle = await office.start(apply=True)
    await reached.wait()
    await handle.cancel(reason="cancelled by ann: not today")
    go_on.set()
    try:
        await handle.result()
    except client.WorkflowFailureError:
        return
    raise AssertionError("the breakdown went on after its cancel")


SCENARIOS: Final[Mapping[str, Callable[[Office], Awaitable[None]]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        proposed_by_rules,
        filed_with_checklist,
        filed_as_a_model_proposed,
        refused,
        cancelled_while_filing,
    )
}


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "advice.json")
        script.write_text(json.dumps({"judge": {"breakdown": _ADVICE}}))
        async with (
            await WorkflowEnvironment.start_local(**installation.server()) as env,
            breakdown_desk.opened(await installation.connect(env), script) as office,
        ):
            for name, scenario in SCENARIOS.items():
                office.desk.clear()
                await scenario(office)
                for path in await record.record(office.temporal, name, {"breakdown": _ID}):
                    sys.stdout.write(f"{path.relative_to(record.FOLDER)}\n")


if __name__ == "__main__":
    asyncio.run(main())
