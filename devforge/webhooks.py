"""Webhooks: an event becomes one stored delivery per subscribed hook; a sender posts them, in order per hook.

Storing happens in the transaction of the effect, so that no effect is without its event. Nothing is ever sent
twice by the forge itself: like GitHub it leaves redelivery to those who ask for it.
"""

import asyncio
import functools
import hashlib
import hmac
import logging
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from devforge import clock, database, faults, shapes, state

TIMEOUT_SECONDS = 10.0
REORDER_HOLD_SECONDS = 2.0
EVENTS = (
    "issues",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "check_run",
    "check_suite",
    "status",
    "push",
    "ping",
)
_LOG = logging.getLogger(__name__)


def emit(
    forge: state.Forge,
    repo: database.Row,
    event: str,
    action: str | None,
    actor_id: int,
    payload: Callable[[], dict[str, Any]],
) -> None:
    """Store one delivery for every hook that wants this event. The payload is only built when somebody does."""
    hooks = [hook for hook in _subscribed(forge, repo) if _wants(hook, event)]
    if not hooks:
        return
    body: dict[str, Any] = {} if action is None else {"action": action}
    body |= payload()
    body["repository"] = shapes.repository(forge, repo)
    body["sender"] = shapes.user_by_id(forge, actor_id)
    for hook in hooks:
        full = body
        if hook["installation_id"]:
            full = body | {
                "installation": {
                    "id": hook["installation_id"],
                    "node_id": shapes.node("I", hook["installation_id"]),
                }
            }
        store(forge, hook["id"], event, action, full, repo["id"], hook["installation_id"])


def _subscribed(forge: state.Forge, repo: database.Row) -> list[database.Row]:
    """The active hooks of a repository, and those of apps installed on it."""
    found = forge.db.all(
        "SELECT h.*, NULL AS installation_id, NULL AS repository_ids FROM hooks h WHERE active AND h.repo_id = ? "
        "UNION ALL SELECT h.*, i.id, i.repository_ids FROM hooks h JOIN installations i ON i.app_id = h.app_id "
        "WHERE active AND i.account_id = ?",
        repo["id"],
        repo["owner_id"],
    )
    return [row for row in found if repo["id"] in (database.load(row["repository_ids"]) or [repo["id"]])]


def _wants(hook: database.Row, event: str) -> bool:
    events = database.load(hook["events"])
    return event == "ping" or "*" in events or event in events


def store(
    forge: state.Forge,
    hook_id: int,
    event: str,
    action: str | None,
    body: dict[str, Any],
    repo_id: int | None,
    installation_id: int | None,
) -> None:
    """Queue one delivery, bent by the webhook faults that are armed."""
    guid, payload, now = str(uuid.uuid4()), database.dump(body), clock.epoch()
    hits = faults.delivery(forge, event)
    kinds = {settings.kind: (fault_id, settings) for fault_id, settings in hits}
    if "webhook_drop" in kinds and not kinds["webhook_drop"][1].recorded:
        return
    dropped, reorder = "webhook_drop" in kinds, kinds.get("webhook_reorder")
    delay = sum(settings.seconds for _, settings in hits if settings.kind == "webhook_delay")
    copies = 1 + sum(settings.times for _, settings in hits if settings.kind == "webhook_duplicate")
    for copy in range(copies):
        delivery_id = forge.db.insert(
            "deliveries",
            guid=guid,
            hook_id=hook_id,
            event=event,
            action=action,
            payload=payload,
            repo_id=repo_id,
            installation_id=installation_id,
            redelivery=int(copy > 0),
            state="done" if dropped else "pending",
            position=0,
            not_before=now + delay + (REORDER_HOLD_SECONDS if reorder else 0),
            held_by=reorder[0] if reorder else None,
            status="failed to connect to host" if dropped else None,
            status_code=502 if dropped else None,
            delivered_at=clock.now(),
        )
        forge.db.update("deliveries", delivery_id, position=float(delivery_id))
    if reorder:
        _reverse(forge, *reorder)
    forge.deliveries_wanted.set()


def _reverse(forge: state.Forge, fault_id: int, settings: faults.Settings) -> None:
    """Once a window of held deliveries is full, let them go in reverse order."""
    held = forge.db.all("SELECT id, position FROM deliveries WHERE held_by = ? ORDER BY position", fault_id)
    if len(held) < settings.window:
        return
    for row, other in zip(held, reversed(held), strict=True):
        forge.db.update("deliveries", row["id"], position=other["position"], not_before=0, held_by=None)


def again(forge: state.Forge, delivery: database.Row) -> None:
    """Queue a redelivery: the same id and payload once more."""
    new = forge.db.insert(
        "deliveries",
        guid=delivery["guid"],
        hook_id=delivery["hook_id"],
        event=delivery["event"],
        action=delivery["action"],
        payload=delivery["payload"],
        repo_id=delivery["repo_id"],
        installation_id=delivery["installation_id"],
        redelivery=1,
        state="pending",
        position=0,
        not_before=0,
        delivered_at=clock.now(),
    )
    forge.db.update("deliveries", new, position=float(new))
    forge.deliveries_wanted.set()


async def deliver_forever(forge: state.Forge) -> None:
    """Send what is pending, one task per hook, until cancelled."""
    busy: dict[int, asyncio.Task[None]] = {}
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=20)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, limits=limits) as client:
        try:
            while True:
                forge.deliveries_wanted.clear()
                rows = forge.db.all(
                    "SELECT hook_id, min(not_before) AS due FROM deliveries WHERE state = 'pending' GROUP BY hook_id"
                )
                for row in rows:
                    if row["hook_id"] not in busy and row["due"] <= clock.epoch():
                        task = asyncio.create_task(_drain(forge, client, row["hook_id"]))
                        busy[row["hook_id"]] = task
                        task.add_done_callback(functools.partial(_finished, forge, busy, row["hook_id"]))
                waiting = [row["due"] for row in rows if row["hook_id"] not in busy]
                await _wait(forge, max(0.01, min(waiting) - clock.epoch()) if waiting else None)
        finally:
            for task in busy.values():
                task.cancel()
            await asyncio.gather(*busy.values(), return_exceptions=True)


def _finished(forge: state.Forge, busy: dict[int, asyncio.Task[None]], hook_id: int, task: asyncio.Task[None]) -> None:
    del busy[hook_id]
    if not task.cancelled() and (problem := task.exception()):
        _LOG.error("the sender of hook %d stopped and starts again: %r", hook_id, problem)
    forge.deliveries_wanted.set()


async def _wait(forge: state.Forge, seconds: float | None) -> None:
    try:
        await asyncio.wait_for(forge.deliveries_wanted.wait(), seconds)
    except TimeoutError:
        return


async def _drain(forge: state.Forge, client: httpx.AsyncClient, hook_id: int) -> None:
    """Send everything of one hook that is due, oldest first; a delayed delivery lets later ones pass."""
    while True:
        row = forge.db.one(
            "SELECT d.*, h.url, h.secret, h.active FROM deliveries d LEFT JOIN hooks h ON h.id = d.hook_id "
            "WHERE d.state = 'pending' AND d.hook_id = ? AND d.not_before <= ? ORDER BY d.position LIMIT 1",
            hook_id,
            clock.epoch(),
        )
        if row is None:
            return
        await _send(forge, client, row)


async def _send(forge: state.Forge, client: httpx.AsyncClient, row: database.Row) -> None:
    if row["url"] is None:  # the hook was deleted meanwhile
        forge.db.update("deliveries", row["id"], state="done", status="hook deleted", status_code=0)
        return
    raw = row["payload"].encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/devforge",
        "X-GitHub-Event": row["event"],
        "X-GitHub-Delivery": row["guid"],
        "X-GitHub-Hook-ID": str(row["hook_id"]),
    }
    if row["secret"]:
        headers["X-Hub-Signature-256"] = signature(row["secret"], raw)
    started = clock.epoch()
    try:
        # One bound for the whole exchange: httpx's own bounds hold for each read, and a slow peer could feed them.
        async with asyncio.timeout(TIMEOUT_SECONDS):
            response = await client.post(row["url"], content=raw, headers=headers)
        code, words, body = response.status_code, response.reason_phrase, response.text[:2000]
    except TimeoutError:
        code, words, body = 504, "timed out", ""
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        late = isinstance(problem, httpx.TimeoutException)
        code, words, body = (504, "timed out", "") if late else (502, "failed to connect to host", "")
    forge.db.update(
        "deliveries",
        row["id"],
        state="done",
        status="OK" if 200 <= code < 300 else words,
        status_code=code,
        request_headers=database.dump(headers),
        response=body,
        duration=round(clock.epoch() - started, 3),
        delivered_at=clock.now(),
    )


def signature(secret: str, raw: bytes) -> str:
    """The value of `X-Hub-Signature-256`."""
    return "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
