"""One run in words: the whole of it, or why it stands where it stands."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.client import Client

from cli import failures, inspection, links, listing, render, transcript
from domain import explain
from domain.numerals import counted
from domain.run import State
from workers import connection, settings

_TAIL: Final = 5


async def status(client: Client, run: str, *, as_json: bool) -> None:
    """Print everything about the newest run that `run` names."""
    seen = await inspection.look(client, await listing.find(client, run))
    config = settings.load()
    backend = seen.state.session.backend if seen.state and seen.state.session else ""
    tail = transcript.tail(config.artifacts_dir, seen.issue, backend, _TAIL)
    where = _links(seen, connection.read_up(config.state_dir), client.namespace)
    now = datetime.now(UTC)
    if as_json:
        render.emit_json(_as_object(seen, tail, where, now))
        return
    out = render.printer()
    if seen.state is None:
        out.print(render.facts([("run", str(seen.issue)), ("status", seen.status), ("trouble", seen.trouble)]))
    else:
        out.print(render.facts(_facts(seen, seen.state, now)))
        if seen.is_open:
            out.print()
            out.print(render.facts(_wait_facts(seen.explanation(now))))
    for heading, lines in (("agent, last lines", tail), ("links", [f"{k}: {v}" for k, v in where.items()])):
        if lines:
            out.print(f"\n{heading}")
            for line in lines:
                out.print(f"  {render.clean(line)}")


async def explanation(client: Client, run: str, *, as_json: bool) -> None:
    """Print what the run waits for.

    Raises:
        failures.Unreachable: no worker answered for it.
    """
    seen = await inspection.look(client, await listing.find(client, run))
    now = datetime.now(UTC)
    found = seen.explanation(now)
    if found is None:
        raise failures.Unreachable(
            f"{seen.issue} ({seen.status}, started {render.moment(seen.started_at)}) has no answer: {seen.trouble}"
        )
    if as_json:
        render.emit_json(found)
        return
    render.printer().print(render.facts([("run", found.run), ("phase", found.phase), *_wait_facts(found)]))


def _wait_facts(found: explain.Explanation | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    deadline = render.moment(found.deadline)
    if found.overdue_by is not None:
        deadline += f" (passed {render.span(found.overdue_by.total_seconds())} ago)"
    waited = f" ({render.span(found.waited_seconds)})" if found.waited_seconds is not None else ""
    return [
        ("waits for", found.waits_for),
        ("since", f"{render.moment(found.since)}{waited}" if found.since else ""),
        ("whose move", found.whose_move),
        ("ends when", found.ends_when),
        ("deadline", deadline),
        ("note", "\n".join(found.notes)),
        ("next", found.next_command),
    ]


def _facts(seen: inspection.Seen, state: State, now: datetime) -> list[tuple[str, str]]:
    change, pull = state.change, state.pull
    return [
        ("run", f"{seen.issue}  {render.clean(state.title)}"),
        ("phase", f"{state.phase}{f', held: {state.hold.kind}' if state.hold else ''} ({seen.status})"),
        ("ending", _ending(state)),
        ("mode", state.mode),
        ("phases", "\n".join(_phases(state, seen.closed_at or now))),
        ("agent", ", ".join(part for part in (state.backend, state.model) if part)),
        ("host", state.host.host_id if state.host else ""),
        ("branch", state.branch),
        ("pull request", f"#{pull.number} {'ready' if pull.ready else 'draft'} {pull.url}" if pull else ""),
        (
            "head",
            f"{change.head_sha} ({counted(change.size, 'file')}, +{change.added_lines} -{change.removed_lines})"
            if change
            else "",
        ),
        ("review", _review(state)),
        ("ci", change.ci.sentence() + (f" {change.ci.url}" if change.ci.url else "") if change and change.ci else ""),
        ("approved", "\n".join(_approvals(state))),
        ("merged", state.merge.merged_sha),
        ("retries", ", ".join(f"{k} {v}" for k, v in state.used.model_dump().items() if v)),
        ("cost", f"{state.cost_usd:.2f} USD" if state.cost_usd is not None else "not known"),
        ("trouble", seen.trouble),
    ]


def _ending(state: State) -> str:
    if state.ending is None:
        return ""
    kind = f" [{state.ending.failure_class}]" if state.ending.failure_class else ""
    return f"{state.ending.phase}{kind}: {state.ending.reason}"


def _phases(state: State, until: datetime) -> list[str]:
    ends = [mark.at for mark in state.marks[1:]] + [until]
    return [
        f"{render.moment(mark.at)}  {mark.phase}"
        + ("" if mark.phase.terminal else f" for {render.span((end - mark.at).total_seconds())}")
        for mark, end in zip(state.marks, ends, strict=True)
    ]


def _review(state: State) -> str:
    found = state.change.review if state.change else None
    if found is None:
        return ""
    return f"{found.verdict} by {found.by} at {found.head_sha[:9]}: {found.summary}"[:500]


def _approvals(state: State) -> list[str]:
    given = (("dispatch", state.dispatch_approval), ("merge", state.change.approval if state.change else None))
    return [
        f"{gate} by {a.by} {render.moment(a.at)}{f' at {a.head_sha[:9]}' if a.head_sha else ''}"
        f"{f': {a.note}' if a.note else ''}"
        for gate, a in given
        if a is not None
    ]


def _links(seen: inspection.Seen, up: Mapping[str, Any] | None, namespace: str) -> dict[str, str]:
    state = seen.state
    found = {
        "temporal": links.temporal_ui(up, namespace, seen.issue, seen.run_id),
        "issue": state.issue_url if state else "",
        "pull_request": state.pull.url if state and state.pull else "",
    }
    return {name: url for name, url in found.items() if url}


def _as_object(seen: inspection.Seen, tail: list[str], where: Mapping[str, str], now: datetime) -> dict[str, Any]:
    state = seen.state
    return {
        "run": str(seen.issue),
        "workflow_id": seen.issue.workflow_id,
        "run_id": seen.run_id,
        "status": seen.status,
        "phase": state.phase.value if state else None,
        "hold": state.hold_label() if state else None,
        "started_at": seen.started_at,
        "closed_at": seen.closed_at,
        "pull_request": state.pull.number if state and state.pull else None,
        "head_sha": state.change.head_sha if state and state.change else None,
        "cost_usd": state.cost_usd if state else None,
        "state": state,
        "explanation": seen.explanation(now),
        "agent_tail": tail,
        "links": dict(where),
        "trouble": seen.trouble or None,
    }
