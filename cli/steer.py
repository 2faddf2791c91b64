"""What people tell runs: each verb is one update, and answers with the new state in one line."""

import asyncio
import shlex
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from activities import starting
from cli import failures, listing, render, runs, session
from domain import refs, steps, wire
from domain.run import Decision, HoldRequest, Phase, State

_CLOSE_SECONDS: Final = 60.0
_MERGE_SECONDS: Final = 15.0
"""A forge answers a merge within seconds; one that does not is being asked again, and `fettle explain` tells."""

_Model = TypeVar("_Model", bound=BaseModel)


def send(run: str, name: str, argument: Callable[[str], BaseModel], *, as_json: bool) -> None:
    """One update to one run; `argument` gets the operator's name."""
    model = checked(lambda: argument(session.operator()))

    async def work(client: Client) -> State:
        return await runs.update(client, await listing.find(client, run), name, model)

    _tell(session.call(work), as_json=as_json)


def hold(run: str, note: str, *, as_json: bool) -> None:
    """Hold a run. Where its merge was already cleared, wait a little for what becomes of that.

    Raises:
        failures.Failed: the merge was made; nothing is held.
    """
    request = checked(lambda: HoldRequest(by=session.operator(), note=note))

    async def work(client: Client) -> State:
        issue = await listing.find(client, run)
        state = await runs.update(client, issue, wire.HOLD, request)
        if not state.merge.cleared_sha:
            return state
        cleared = state.merge.cleared_sha
        render.progress(f"{issue}: the merge of {cleared[:9]} was cleared before the hold; waiting for what it becomes")
        state = await _merge_told(client, issue)
        if state.ending is not None and state.ending.phase is Phase.DONE:
            raise failures.Failed(
                f"the hold of {issue} came too late: the merge of {cleared} was cleared before it, and is made "
                f"({state.ending.reason}); to undo it, revert that commit"
            )
        return state

    _tell(session.call(work), as_json=as_json)


async def _merge_told(client: Client, issue: refs.Issue) -> State:
    """The state when the cleared merge was made or came back, or after a bounded wait the one it is in."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _MERGE_SECONDS
    while True:
        state = await runs.query(client, issue)
        if not state.merge.cleared_sha or state.ending is not None or loop.time() >= deadline:
            return state
        await asyncio.sleep(0.2)


def decide(
    run: str, *, approve: bool, head: str, note: str, confirm: Callable[[str], bool] | None, as_json: bool
) -> None:
    """Approve or reject. What was seen must be named: by `head`, or by a yes to what `confirm` shows.

    Raises:
        failures.Usage: neither was given; the message is the command to type.
    """
    verb = "approve" if approve else "reject"

    async def work(client: Client) -> State:
        issue = await listing.find(client, run)
        state = await runs.query(client, issue)
        seen = head or _seen(state, verb, note, confirm)
        decision = checked(lambda: Decision(by=session.operator(), approve=approve, head_sha=seen.lower(), note=note))
        # The marks count the phases so far: the same command at the same gate counts once, and a head that comes back
        # after another one had voided its approval can be approved again.
        key = f"{verb}:{seen or state.phase}:{len(state.marks)}"
        return await runs.update(client, issue, wire.DECIDE, decision, key=key)

    _tell(session.call(work), as_json=as_json)


def answer(run: str, *, action: str, allow: bool, note: str, as_json: bool) -> None:
    """Allow or refuse exactly one call of the agent; saying the same twice counts once."""

    async def work(client: Client) -> State:
        issue = await listing.find(client, run)
        decision = checked(lambda: Decision(by=session.operator(), approve=allow, action=action, note=note))
        # An agent that was lost before it made its call asks for the very same one again, in a later round.
        rounds = (await runs.query(client, issue)).rounds
        key = f"{'allow' if allow else 'refuse'}:{action}:{rounds}"
        return await runs.update(client, issue, wire.DECIDE, decision, key=key)

    _tell(session.call(work), as_json=as_json)


def _seen(state: State, verb: str, note: str, confirm: Callable[[str], bool] | None) -> str:
    """The head that the decision is about; empty where there is no commit yet."""
    if state.change is None or steps.next_step(state) is steps.Step.AWAIT_DISPATCH:
        return ""
    head = state.change.head_sha
    where = f", {state.pull.url}" if state.pull and state.pull.url else ""
    words = ["fettle", verb, str(state.issue), "--head", head, *(["--note", note] if note else [])]
    if confirm is None:
        raise failures.Usage(
            f"{verb} names the commit you reviewed, and no --head was given; the head is {head}{where}: "
            f"look at it, then run: {shlex.join(words)}"
        )
    render.progress(f"{state.issue}: {state.title}")
    render.progress(f"head {head}{where}")
    if not confirm(f"{verb} exactly this head?"):
        raise failures.Failed(f"nothing was decided about {state.issue}: it still waits at {head[:9]}")
    return head


def retry(run: str, *, fresh: bool, note: str, as_json: bool) -> None:
    """Retry the stuck step of an open run, or start an ended run again; one that ended done has nothing to retry."""

    async def work(client: Client) -> State:
        issue = await listing.find(client, run)
        found = await runs.describe(client, issue)
        by = session.operator()
        if found.status is not WorkflowExecutionStatus.RUNNING:
            before = await _refuse_done(client, issue, found)
            accepted = before.accepted if before and not fresh else ()
            await starting.start_issue_run(client, issue, asked_by=by, fresh=fresh, accepted=accepted)
            return State(issue=issue, asked_by=by, fresh=fresh)
        if fresh:
            raise failures.Failed(
                f"{issue} is still open and --fresh starts it from nothing: fettle cancel {issue}, then retry it"
            )
        request = checked(lambda: HoldRequest(by=by, note=note))
        return await runs.update(client, issue, wire.RETRY, request)

    _tell(session.call(work), as_json=as_json)


async def _refuse_done(client: Client, issue: refs.Issue, found: WorkflowExecutionDescription) -> State | None:
    """The state that the run ended with, None where it has left none. No worker is asked for that.

    Raises:
        failures.Failed: it ended as it should, its issue is closed.
    """
    if found.status is not WorkflowExecutionStatus.COMPLETED:
        return None
    handle = client.get_workflow_handle(issue.workflow_id, run_id=found.run_id, result_type=State)
    state: State = await handle.result(follow_runs=False)
    if state.phase is Phase.DONE:
        how = state.ending.reason if state.ending else "done"
        raise failures.Failed(
            f"{issue} is done ({how}) and a retry would work on a closed issue: reopen the issue on the forge and "
            f"label it {wire.LABEL_TRIGGER} when there is more to do"
        )
    return state


def cancel(run: str, *, reason: str, wait: bool, as_json: bool) -> None:
    """Cancel a run; with `wait`, return when it has ended."""

    async def work(client: Client) -> tuple[refs.Issue, str | None]:
        issue = await listing.find(client, run)
        by = session.operator()
        await runs.cancel(client, issue, f"cancelled by {by}{f': {reason}' if reason else ''}")
        if not wait:
            return issue, None
        render.progress(f"{issue}: asked to cancel, waiting until it has ended")
        ended = await runs.wait_closed(client, issue, _CLOSE_SECONDS)
        if ended is None:
            raise failures.Failed(
                f"{issue} was asked to cancel and is still cleaning up after {_CLOSE_SECONDS:.0f} s: "
                f"see what holds it with fettle explain {issue}"
            )
        return issue, ended.status.name.lower() if ended.status else "closed"

    issue, status = session.call(work)
    line = f"{issue} is quiescent: it has ended ({status})" if status else f"{issue} was asked to cancel"
    render.emit(
        {"run": str(issue), "cancel_requested": True, "quiescent": status is not None, "status": status},
        line,
        as_json=as_json,
    )


def _tell(state: State, *, as_json: bool) -> None:
    """The new state in one line. What was decided may not be acted on yet, so the due step is named too."""
    words = [f"{state.issue} is {state.phase}"]
    if state.ending is not None:
        words = [f"{state.issue} ends as {state.ending.phase}: {state.ending.reason}"]
    elif state.hold is not None:
        words.append(f"held ({state.hold.kind}) by {state.hold.by}")
        if state.merge.cleared_sha:
            words.append(f"the merge of {state.merge.cleared_sha[:9]} was cleared before and may still be made")
    if state.ending is None:
        words.append(f"next: {steps.next_step(state)}")
    render.emit(state, ", ".join(words), as_json=as_json)


def checked(make: Callable[[], _Model]) -> _Model:
    """Raises failures.Usage where a text is longer than its field."""
    try:
        return make()
    except ValidationError as wrong:
        problems = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in wrong.errors(include_url=False) if e["loc"])
        raise failures.Usage(f"what was given is not accepted ({problems}): shorten or correct it") from wrong
