"""Record histories of real workflows for the replay test: `python -m tests.workflows.record`.

A recording that exists is never overwritten: it stands for runs that users have open. New scenarios add files.
"""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from domain import errors, fleet, intake, refs, run, wire
from domain.policy import ApprovalMode, RepositoryPolicy
from tests.workflows import installation
from tests.workflows.installation import Installation
from tests.workflows.runs import eventually
from tests.workflows.world import RED, Turn

FOLDER: Final = Path(__file__).parents[1] / "histories"
Recorded = dict[str, str]
"""Workflow ids by the name of the folder that they are recorded in."""
STALE: Final = "3f2c1ab" + "0" * 33


def _of(issue: refs.Issue, *, child: bool = True) -> Recorded:
    own = {"issue": issue.workflow_id}
    return {**own, "implement": f"{issue.workflow_id}/implement"} if child else own


async def happy_full_auto(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.policy = RepositoryPolicy(verify_command="make test")
    issue = world.issue(1, "Fix the totals")
    await (await fettle.start(issue)).ended()
    look = intake.IntakeRequest(repo=world.repo)
    intake_id = f"intake/{world.repo}"
    await fettle.temporal.execute_workflow(
        wire.ISSUE_INTAKE_WORKFLOW, look, id=intake_id, task_queue=wire.CONTROL_QUEUE
    )
    return {**_of(issue), "intake": intake_id}


async def approved_at_the_gate(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.mode, world.judge = ApprovalMode.REVIEW_ALL, "model"
    issue = world.issue(1, "Fix the totals", body="Depends on #2")
    world.issue(2).repo  # noqa: B018 - the dependency exists
    world.forge.issues[2].open = False
    started = await fettle.start(issue)
    await started.until(lambda s: s.hold is not None)
    await started.approve()
    await started.approve(await started.at_gate())
    await started.ended()
    return _of(issue, child=False)


async def stale_approval_refused(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.mode = ApprovalMode.REVIEW_MERGE
    issue = world.issue(1, "Fix the totals")
    started = await fettle.start(issue)
    head = await started.at_gate()
    await started.handle.signal(wire.SIGNAL_APPROVE, run.Decision(by="ann", head_sha=STALE))
    await started.until(lambda s: s.refused)
    pushed = world.forge.push((await started.state()).branch, {"by_hand.py": "1"})
    await started.until(lambda s: s.change and s.change.head_sha == pushed and s.hold is not None)
    assert head != pushed
    await started.approve(pushed)
    await started.ended()
    return _of(issue, child=False)


async def cancelled_mid_turn(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    stop = world.stop(wire.RUN_AGENT)
    issue = world.issue(1, "Fix the totals")
    started = await fettle.start(issue)
    await stop.reached.wait()
    await started.handle.cancel(reason="cancelled by ann: not needed")
    await started.cancelled()
    return _of(issue)


async def held_and_released(fettle: Installation) -> Recorded:
    """During a turn, at the gate, and in the queue."""
    world = fettle.world("totals")
    world.mode = ApprovalMode.REVIEW_MERGE
    stop = world.stop(wire.RUN_AGENT)
    issue = world.issue(1, "Fix the totals")
    started = await fettle.start(issue)
    await stop.reached.wait()
    await started.hold("during the turn")
    await started.child_is_held()
    stop.open.set()
    await started.quiet(started.child.id)
    await started.release()
    head = await started.at_gate()
    await started.hold("at the gate")
    await started.approve(head)
    queued = world.stop(wire.BUILD_CANDIDATE)
    await started.release()
    await queued.reached.wait()
    await started.hold("in the queue")
    queued.open.set()
    await started.quiet()
    await started.release()
    await started.ended()
    return _of(issue)


async def red_ci_repaired(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.ci_next.append(RED)
    issue = world.issue(1, "Fix the totals")
    await (await fettle.start(issue)).ended()
    return _of(issue)


async def conflict_repaired(fettle: Installation) -> Recorded:
    """Two runs in one queue; the second one conflicts with what the first one merged."""
    world = fettle.world("totals")
    world.policy = RepositoryPolicy(max_in_flight=2)
    world.turns = {n: deque([Turn({"shared.py": f"by {n}"}), Turn({"shared.py": "by both"})]) for n in (1, 2)}
    runs = await asyncio.gather(*(fettle.start(world.issue(n, "Fix the totals")) for n in (1, 2)))
    ended = await asyncio.gather(*(r.ended() for r in runs))
    for started in runs:
        await started.place_is_free()
    queue = refs.merge_queue_workflow_id(world.repo, "main")
    await runs[0].quiet(queue)
    repaired = next(e.issue for e in ended if e.used.conflict)
    return {**_of(repaired), "merge-queue": queue, "repository": refs.repository_workflow_id(world.repo)}


async def failed_budgets(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.policy = RepositoryPolicy.model_validate({"verify_command": "x", "budgets": {"verify": 1, "agent_error": 1}})
    world.turns[1] = deque([Turn(error=errors.AgentCrashed("exit code 1"))])
    world.verifies.extend([False, False])
    issue = world.issue(1, "Fix the totals")
    await (await fettle.start(issue)).ended()
    return _of(issue)


async def stuck_and_retried(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.before[wire.POST_REVIEW] = deque([errors.AccessDenied("the token may not write reviews")])
    issue = world.issue(1, "Fix the totals")
    started = await fettle.start(issue)
    await started.until(lambda s: s.hold is not None)
    await started.update(wire.RETRY, run.HoldRequest(by="ann"))
    await started.ended()
    return _of(issue, child=False)


async def candidate_tested_and_rebuilt(fettle: Installation) -> Recorded:
    """The base moves before the queue's turn, and again during the test; another entry is withdrawn meanwhile."""
    world = fettle.world("totals")
    world.mode = ApprovalMode.REVIEW_MERGE
    first, second = [await fettle.start(world.issue(n, "Fix the totals")) for n in (1, 2)]
    heads = [await r.at_gate() for r in (first, second)]
    world.forge.push("main", {"meanwhile.py": "1"})
    world.pushes_before_merge.append(lambda: world.forge.push("main", {"again.py": "1"}))
    stop = world.stop(wire.BUILD_CANDIDATE)
    await first.approve(heads[0])
    await stop.reached.wait()
    await second.approve(heads[1])
    await second.until(lambda s: s.phase is run.Phase.QUEUED)
    await second.hold("not today")
    await second.quiet()
    stop.open.set()
    await first.ended()
    await second.release()
    await second.ended()
    queue = refs.merge_queue_workflow_id(world.repo, "main")
    await first.quiet(queue)
    return {"merge-queue": queue}


async def paused_and_resumed(fettle: Installation) -> Recorded:
    world = fettle.world("totals")
    world.policy = RepositoryPolicy(max_in_flight=1)
    stop = world.stop(wire.RUN_AGENT)
    first = await fettle.start(world.issue(1, "Fix the totals"))
    await stop.reached.wait()
    switches: Any = fettle.temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    for paused in (True, False):
        await switches.execute_update(wire.CONFIGURE, fleet.Change(by="ann", paused=paused))
        await eventually(first.place, lambda s, told=paused: s.settings and s.settings.paused is told)  # type: ignore[misc] # a default argument binds the loop's value
    second = await fettle.start(world.issue(2, "Fix the rest"))
    stop.open.set()
    await first.ended()
    await second.ended()
    await second.place_is_free()
    await second.quiet(refs.FLEET_WORKFLOW_ID)
    return {"repository": refs.repository_workflow_id(world.repo), "fleet": refs.FLEET_WORKFLOW_ID}


SCENARIOS: Final[Mapping[str, Callable[[Installation], Awaitable[Recorded]]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        happy_full_auto,
        approved_at_the_gate,
        stale_approval_refused,
        cancelled_mid_turn,
        held_and_released,
        red_ci_repaired,
        conflict_repaired,
        failed_budgets,
        stuck_and_retried,
        candidate_tested_and_rebuilt,
        paused_and_resumed,
    )
}


def scrubbed(history: object) -> object:
    """Stack traces name the machine's paths, and replay does not read them."""
    if isinstance(history, dict):
        return {key: "" if key == "stackTrace" else scrubbed(value) for key, value in history.items()}
    return [scrubbed(item) for item in history] if isinstance(history, list) else history


async def record(temporal: Client, name: str, recorded: Recorded) -> list[Path]:
    """Write the histories that are not there yet; the paths of the new files."""
    written = []
    for folder, workflow_id in recorded.items():
        path = FOLDER / folder / f"{name}.json"
        if path.exists():
            continue
        history = await temporal.get_workflow_handle(workflow_id).fetch_history()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(scrubbed(history.to_json_dict()), separators=(",", ":")) + "\n")
        written.append(path)
    return written


async def main() -> None:
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        installation.installed(await installation.connect(env)) as fettle,
    ):
        for name, scenario in SCENARIOS.items():
            for path in await record(fettle.temporal, name, await scenario(fettle)):
                sys.stdout.write(f"{path.relative_to(FOLDER)}\n")


if __name__ == "__main__":
    asyncio.run(main())
