"""`fettle breakdown`: start the workflow of a spec, or join the one that works, and show what it proposes or filed."""

import asyncio
import shlex
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from rich import console, text
from temporalio import client, common, exceptions
from temporalio.client import WorkflowExecutionStatus

from activities import admission
from cli import failures, names, render, session
from domain import breakdown, redaction, refs, wire
from workers import settings

_WAIT_SECONDS: Final = 600.0
"""A model takes minutes over a long spec; after this the workflow goes on alone."""
_LOOK_SECONDS: Final = 0.5
_ASKED: Final = "asked"
"""Memo of the workflow: what it was asked, so that the same command joins it."""
_READ_TIMEOUT: Final = timedelta(seconds=5)


@dataclass(frozen=True)
class Asked:
    """What was typed."""

    spec: Path
    repo: str
    apply: bool
    most: int
    labels: tuple[str, ...]
    tracking: int


def carry_out(asked: Asked, *, as_json: bool) -> None:
    """Break the spec down and print the result.

    Raises:
        failures.Usage: the file cannot be read, or holds no spec.
        failures.Failed: it was refused, or another breakdown of the same spec works.
        failures.Unreachable: it goes on, but did not end in time.
    """
    request = breakdown.Request(
        repo=names.repository(asked.repo),
        spec=asked.spec.name,
        text=_read(asked.spec),
        apply=asked.apply,
        most=asked.most,
        labels=asked.labels,
        tracking=asked.tracking,
        asked_by=session.operator(),
    )
    outcome = session.call(lambda temporal: _run(temporal, request))
    if outcome.refusal:
        raise failures.Failed(f"{asked.spec.name} was not broken down: {outcome.refusal}")
    if as_json:
        render.emit_json(_shown(outcome))
    else:
        _print(outcome, asked)


def _read(path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        why = wrong.strerror if isinstance(wrong, OSError) else "it is not UTF-8 text"
        raise failures.Usage(f"the spec {path} cannot be read, {why}: name a Markdown file") from wrong
    if problem := breakdown.refusal_of(found):
        raise failures.Usage(f"{path} cannot be broken down: {problem}")
    masked = redaction.Redactor(settings.load().secrets()).redact(found)
    if masked != found:  # it would stand in a history and in an issue
        render.progress(f"{path} holds what looks like a secret: it is masked; take it out of the spec, and revoke it")
    return masked


async def _run(temporal: client.Client, request: breakdown.Request) -> breakdown.Outcome:
    workflow_id = breakdown.workflow_id(request.repo, request.spec)
    handle = temporal.get_workflow_handle(workflow_id, result_type=breakdown.Outcome)
    mark = breakdown.digest(request.model_dump_json(exclude={"asked_by", "draft"}))
    if request.apply:
        request = request.model_copy(update={"draft": await _shown_before(handle, request)})
    try:
        await _start(temporal, workflow_id, request, mark)
    except exceptions.WorkflowAlreadyStartedError as working:
        found = await handle.describe(rpc_timeout=_READ_TIMEOUT)
        if await found.memo_value(_ASKED, default="") != mark:
            raise failures.Failed(
                f"{request.spec} of {request.repo} is being broken down already, for another command than this one: "
                "wait until that has ended, then repeat yours"
            ) from working
        render.progress(f"{request.spec}: joining the breakdown that works already")
    return await _ended(handle, request)


async def _start(temporal: client.Client, workflow_id: str, request: breakdown.Request, mark: str) -> None:
    what = "" if request.apply else " (dry run)"
    await temporal.start_workflow(
        wire.BREAKDOWN_WORKFLOW,
        request,
        id=workflow_id,
        task_queue=wire.CONTROL_QUEUE,
        id_conflict_policy=common.WorkflowIDConflictPolicy.FAIL,
        id_reuse_policy=common.WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        memo={_ASKED: mark},
        static_summary=f"{request.spec} into issues of {request.repo}{what}"[:200],
        static_details=f"Asked by {request.asked_by}.",
        priority=common.Priority(priority_key=3, fairness_key=str(request.repo)[:64]),
        search_attributes=admission.attributes("breakdown", request.repo),
    )


async def _shown_before(
    handle: client.WorkflowHandle[Any, breakdown.Outcome], request: breakdown.Request
) -> breakdown.Draft | None:
    """What the newest ended breakdown of this very text proposed, also one that was stopped in the middle of filing: a
    model would say something else the next time."""
    try:
        found = await handle.describe(rpc_timeout=_READ_TIMEOUT)
        if found.status is WorkflowExecutionStatus.RUNNING:
            return None
        if found.status is WorkflowExecutionStatus.COMPLETED:
            before = await handle.result(follow_runs=False)
        else:
            before = await handle.query(wire.SNAPSHOT, result_type=breakdown.Outcome, rpc_timeout=_READ_TIMEOUT)
    except client.RPCError as failed:
        if failed.status is client.RPCStatusCode.NOT_FOUND:
            return None
        raise
    same = before.draft is not None and before.draft.digest == breakdown.digest(request.text)
    return before.draft if same else None


async def _ended(
    handle: client.WorkflowHandle[Any, breakdown.Outcome], request: breakdown.Request
) -> breakdown.Outcome:
    """The result; meanwhile each thing that it waits for is told once."""
    ending = asyncio.ensure_future(handle.result())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_SECONDS
    told = ""
    try:
        while not ending.done() and loop.time() < deadline:
            await asyncio.wait([ending], timeout=_LOOK_SECONDS)
            if not ending.done() and (doing := await _doing(handle)) != told:
                told = doing
                render.progress(f"{request.spec}: {doing}")
        if not ending.done():
            raise failures.Unreachable(
                f"{request.spec} of {request.repo} is still being broken down after {_WAIT_SECONDS:.0f} s ({told}): it "
                "goes on by itself; see fettle worker list, then repeat the command to join it"
            )
        return await ending
    except client.WorkflowFailureError as failed:
        raise failures.Failed(f"{request.spec} was not broken down, {_reason(failed)}: repeat the command") from failed
    finally:
        ending.cancel()


async def _doing(handle: client.WorkflowHandle[Any, breakdown.Outcome]) -> str:
    found = (await handle.describe(rpc_timeout=_READ_TIMEOUT)).raw_description
    for pending in found.pending_activities:
        why = f", tried {pending.attempt} times: {pending.last_failure.message}" if pending.attempt > 1 else ""
        return f"waiting for {pending.activity_type.name}{why}"
    return "waiting for a control worker" if found.HasField("pending_workflow_task") else "at work"


def _reason(failed: BaseException) -> str:
    """The innermost message: what an activity, or the person who cancelled, said."""
    cause: BaseException | None = failed
    said = ""
    while cause is not None:
        said = str(getattr(cause, "message", "") or said)
        cause = cause.__cause__
    return said.rstrip(".") or "for a reason that was not told"


def _shown(outcome: breakdown.Outcome) -> dict[str, Any]:
    plan = outcome.plan or breakdown.Plan()
    draft = outcome.draft or breakdown.Draft()
    return {
        "repository": str(outcome.repo),
        "spec": outcome.spec,
        "by": draft.by,
        "applied": outcome.applied,
        "issues": [
            {
                "key": item.key,
                "title": item.title,
                "body": item.body,
                "labels": item.labels,
                "depends_on": [*item.depends_on, *(f"#{number}" for number in item.issues)],
                "standing": "filed" if item.made else item.standing,
                "number": item.number or None,
                "url": item.url or None,
            }
            for item in plan.items
        ],
        "warnings": plan.warnings,
        "left_out": draft.left_out,
        "left_over": plan.left_over,
        "checklist_url": outcome.checklist_url or None,
    }


def _print(outcome: breakdown.Outcome, asked: Asked) -> None:
    plan = outcome.plan or breakdown.Plan()
    draft = outcome.draft or breakdown.Draft()
    out = render.printer()
    out.print(_table(outcome.repo, plan))
    for warning in plan.warnings:
        out.print(render.clean(f"note: {warning}"))
    if draft.left_out:
        out.print(render.clean(f"not issues: {', '.join(draft.left_out)}"))
    if plan.left_over:
        out.print(f"filed earlier and no longer in the spec: {breakdown.listed(plan.left_over, '#')}")
    if outcome.checklist_url:
        out.print(f"checklist: {render.clean(outcome.checklist_url)}")
    made, new = sum(item.made for item in plan.items), len(plan.new)
    if outcome.applied:
        out.print(f"{made} filed in {outcome.repo}, read from the spec by {render.clean(draft.by)}")
    else:
        follow = f": file them with {_command(asked)}" if new else ""
        out.print(render.clean(f"{new} new for {outcome.repo}, proposed by {draft.by}; nothing was written{follow}"))


def _command(asked: Asked) -> str:
    """The same command, for certain: what it files is what was shown."""
    words = ["fettle", "breakdown", str(asked.spec), "--repo", asked.repo]
    words += ["--max", str(asked.most)] if asked.most != breakdown.MOST_ISSUES else []
    words += [word for label in asked.labels for word in ("--label", label)]
    words += ["--tracking", str(asked.tracking)] if asked.tracking else []
    return shlex.join([*words, "--apply"])


def _table(repo: refs.Repository, plan: breakdown.Plan) -> console.RenderableType:
    if not plan.items:
        return text.Text(f"no issue is proposed for {repo}")
    place = {item.key: at for at, item in enumerate(plan.items, 1)}
    rows = []
    for at, item in enumerate(plan.items, 1):
        after = [*(str(place[key]) for key in item.depends_on if key in place), *(f"#{n}" for n in item.issues)]
        issue = f"#{item.number}" if item.number else ""
        standing = "filed" if item.made else item.standing.value
        rows.append((str(at), item.title, standing, issue, ", ".join(after), ", ".join(item.labels)))
    return render.grid(("", "title", "standing", "issue", "after", "labels"), rows)
