"""Register repositories: what the forge must allow, what the store keeps, which schedule looks for issues."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pydantic
from temporalio.client import Client

from activities import claiming
from cli import failures, names, outside, render, scheduling, session
from domain import errors, refs, wire
from domain.policy import RepositoryPolicy
from integrations.forge.github import GitHub
from store.repositories import Registration
from store.workflow_files import Kept
from workers import schedules, settings

_SNAPSHOT: Final = "workflow"


def given(others: Sequence[str], **named: Any) -> dict[str, Any]:
    """The policy keys that were typed: options by name, others as KEY=VALUE (JSON, else the text itself).

    Raises:
        failures.Usage: an entry has another form.
    """
    found = {key: value for key, value in named.items() if value is not None}
    for other in others:
        key, equals, text = other.partition("=")
        if not equals:
            raise failures.Usage(
                f"--policy {other} has no value: expected KEY=VALUE, for example ci_timeout_seconds=600"
            )
        try:
            found[key.strip()] = json.loads(text)
        except ValueError:
            found[key.strip()] = text
    return found


def put(repo: str, changes: dict[str, Any], *, new: bool, as_json: bool) -> None:
    """Register `repo`, or change what is registered; the schedule is brought up to date either way."""
    ref, config = names.repository(repo), settings.load()

    async def work(client: Client) -> tuple[Registration, scheduling.Shown | None]:
        async with outside.store(config) as store:
            found = await store.repositories.get(ref)
            if found is None and not new:
                raise failures.Failed(f"{ref} is not registered: fettle repo add {ref}")
            if not new and not changes:
                raise failures.Usage(f"nothing to change on {ref}: give a setting, see fettle repo set --help")
            policy = _policy(found.policy if found else RepositoryPolicy(), changes)
            checked = await _checked(ref, policy, config)
            registration = Registration(
                ref=found.ref if found else checked,
                policy=policy,
                added_at=found.added_at if found else datetime.now(UTC),
                enabled=found.enabled if found else True,
            )
            await store.repositories.upsert(registration)
        await schedules.ensure_intake(client, registration.ref, config)
        return registration, await scheduling.find(client, schedules.intake_id(registration.ref))

    registration, schedule = session.call(work)
    verb = "is registered" if new else "is changed"
    looks = (
        "its schedule is paused"
        if schedule and schedule.paused
        else f"looks every {config.intake_interval_seconds:g} s"
    )
    line = f"{registration.ref} {verb}, {looks}: label an issue '{wire.LABEL_TRIGGER}' to start a run"
    render.emit(_shown(registration, schedule), line, as_json=as_json)


def list_all(*, as_json: bool) -> None:
    config = settings.load()

    async def work() -> Sequence[Registration]:
        async with outside.store(config) as store:
            return await store.repositories.list()

    found = asyncio.run(work())
    if as_json:
        render.emit_json([_shown(r, None) for r in found])
        return
    if not found:
        render.emit(None, "no repository is registered: fettle repo add owner/name", as_json=False)
        return
    rows = [
        (str(r.ref), r.policy.approval_mode or "", r.policy.base_branch, r.policy.agent, r.policy.verify_command)
        for r in found
    ]
    render.printer().print(render.grid(("repository", "mode", "base", "agent", "verify"), rows))


def show(repo: str, *, as_json: bool) -> None:
    ref, config = names.repository(repo), settings.load()

    async def work(client: Client) -> tuple[Registration, scheduling.Shown | None, Kept | None]:
        registration = await _registered(ref, config)
        async with outside.store(config) as store:
            kept = await store.workflow_files.get(registration.ref)
        return registration, await scheduling.find(client, schedules.intake_id(registration.ref)), kept

    registration, schedule, kept = session.call(work)
    if as_json:
        render.emit_json(_shown(registration, schedule) | {"workflow_file": _file(kept)})
        return
    own = registration.policy.model_fields_set
    rows = [
        (key, json.dumps(value), "set" if key in own else "default")
        for key, value in registration.policy.model_dump(mode="json", exclude={_SNAPSHOT}).items()
    ]
    out = render.printer()
    out.print(f"{registration.ref}, registered {render.moment(registration.added_at)}")
    out.print(render.grid(("key", "value", "from"), rows))
    out.print(scheduling.table([schedule] if schedule else []))
    if kept:
        used = f"{kept.source}, read {render.moment(kept.read_at)}" if kept.text is not None else "none: no run starts"
        out.print(render.facts([("workflow file", used), ("problem", kept.problem)]))


def _file(kept: Kept | None) -> dict[str, Any] | None:
    """What is known of the repository's own file; its text is in the repository."""
    return kept.model_dump(mode="json", exclude={"repo", "text"}) | {"usable": kept.text is not None} if kept else None


def remove(repo: str, *, as_json: bool) -> None:
    ref, config = names.repository(repo), settings.load()

    async def work(client: Client) -> refs.Repository:
        registration = await _registered(ref, config)
        await schedules.remove_intake(client, registration.ref)  # first: without it nothing starts new runs
        async with outside.store(config) as store:
            await store.repositories.remove(registration.ref)
            await store.workflow_files.forget(registration.ref)
        return registration.ref

    gone = session.call(work)
    line = f"{gone} is no longer registered; its open runs go on: fettle fleet --repo {gone}"
    render.emit({"repository": str(gone), "removed": True}, line, as_json=as_json)


def learned(repo: str, limit: int, *, as_json: bool) -> None:
    ref, config = names.repository(repo), settings.load()

    async def work() -> Sequence[Any]:
        async with outside.store(config) as store:
            return await store.learnings.latest(ref, limit)

    found = asyncio.run(work())
    if as_json:
        render.emit_json(
            [{**item.model_dump(mode="json", exclude={"repo"}), "repository": str(item.repo)} for item in found]
        )
    elif not found:
        render.emit(None, f"nothing was learned about {ref} yet: lessons come from runs that end", as_json=False)
    else:
        rows = [(render.moment(item.created_at), item.kind.value, item.run, item.text) for item in found]
        render.printer().print(render.grid(("when", "kind", "run", "lesson"), rows))


async def _registered(ref: refs.Repository, config: settings.Settings) -> Registration:
    async with outside.store(config) as store:
        found = await store.repositories.get(ref)
    if found is None:
        raise failures.Failed(f"{ref} is not registered: see fettle repo list, or fettle repo add {ref}")
    return found


def _policy(base: RepositoryPolicy, changes: dict[str, Any]) -> RepositoryPolicy:
    """Raises failures.Usage with the key, what it was given and what is wrong with that."""
    if _SNAPSHOT in changes:
        raise failures.Usage(
            f"'{_SNAPSHOT}' is what a run finds in the repository's own file, nobody sets it: "
            "change that file, or name another one with workflow_file"
        )
    try:
        policy = RepositoryPolicy.model_validate({**base.model_dump(exclude_unset=True), **changes})
    except pydantic.ValidationError as wrong:
        problems = [
            f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in wrong.errors(include_url=False)
        ]
        raise failures.Usage(
            f"the policy is not accepted ({'; '.join(problems)}): correct it; the keys are "
            f"{', '.join(key for key in RepositoryPolicy.model_fields if key != _SNAPSHOT)}"
        ) from wrong
    for key, named in (("agent", (policy.agent,)), ("fallback_agents", policy.fallback_agents)):
        for backend in named if key in changes else ():
            if backend or key != "agent":
                names.backend(backend, key)
    return policy


async def _checked(ref: refs.Repository, policy: RepositoryPolicy, config: settings.Settings) -> refs.Repository:
    """The repository under the forge's own spelling, with our labels on it.

    Raises:
        failures.Failed: something is missing that every run would fail for.
        errors.ForgeError: the forge did not answer, or not to us.
    """
    async with outside.forge(config) as forge:
        try:
            facts = await forge.repository(ref)
        except errors.NotFound as missing:
            raise failures.Failed(
                f"{ref} cannot be registered, {await forge.whoami()} sees no such repository on "
                f"{outside.forge_settings(config).api_url}: correct the name or give that account access, then repeat"
            ) from missing
        if facts.archived:
            raise failures.Failed(f"{ref} cannot be registered, it is archived: unarchive it on the forge first")
        if not facts.can_push:
            raise failures.Failed(
                f"{ref} cannot be registered, {await forge.whoami()} may read it but not push to it: give that account "
                "(or app) write permission on contents, issues and pull requests, then add it again"
            )
        branch = policy.base_branch or facts.default_branch
        head = await forge.branch_sha(facts.ref, branch)
        if head is None:
            raise failures.Failed(
                f"{ref} cannot be registered, it has no branch '{branch}': push it, or name another one with --base"
            )
        await _refuse_unseen_checks(forge, facts.ref, branch, head)
        await forge.ensure_labels(facts.ref, claiming.LABELS)
        return facts.ref


async def _refuse_unseen_checks(forge: GitHub, ref: refs.Repository, branch: str, head: str) -> None:
    """A run waits for CI by reading check runs, so it would hang at its first commit.

    Raises:
        failures.Failed: our identity may not read them; for what it asks, NotFound is an answer as well.
    """
    try:
        await forge.checks(ref, head)
    except (errors.AccessDenied, errors.NotFound) as refused:
        raise failures.Failed(
            f"{ref} cannot be registered, {await forge.whoami()} may push to it but not read the check runs of "
            f"{branch} ({refused}): fine-grained tokens have no such permission, so use a GitHub App with read "
            "permission on checks and commit statuses, or a classic token with the scope repo, then add it again"
        ) from refused


def _shown(registration: Registration, schedule: scheduling.Shown | None) -> dict[str, Any]:
    return {
        "repository": str(registration.ref),
        "added_at": registration.added_at,
        "enabled": registration.enabled,
        "set": sorted(registration.policy.model_fields_set),
        "policy": registration.policy,
        "schedule": schedule,
    }
