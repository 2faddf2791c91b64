"""Checks of what Fettle talks to: Temporal and who polls there, the store, the forge and its repositories."""

import email.utils
import pathlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import httpx
from alembic import script
from alembic.runtime import migration
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from cli import outside, polling
from cli.checkup import Check, Level, Probe, fail, ok, warn
from domain import errors, wire
from integrations.forge.github import GitHub
from store import database, migrate
from store.repositories import Registration, Repositories
from workers import connection, embedded, settings

_SKEW_WARN: Final = 30.0
_SKEW_FAIL: Final = 300.0
"""Seconds. An app's signed token is refused when it comes from the future or is older than ten minutes."""
_REPOSITORIES: Final = 50


async def _temporal(config: settings.Settings) -> list[Check]:
    try:
        client = await connection.connect("cli", state=config.state_dir)
    except connection.Unreachable as away:
        advice = "start it with fettle up, or set TEMPORAL_ADDRESS"
        return [fail("temporal", str(away), advice, unreachable=True)]
    return [await _server(client, config), await _attributes(client), *await _workers(client)]


async def _server(client: Client, config: settings.Settings) -> Check:
    answer = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    target = client.service_client.config.target_host
    up = connection.read_up(config.state_dir) or {}
    fairness = (
        "fairness on" if up.get("temporal_address") == target else "fairness: matching.enableFairness is not readable"
    )
    return ok("temporal", f"{answer.server_version} at {target}, namespace {client.namespace}, {fairness}")


async def _attributes(client: Client) -> Check:
    name = "search attributes"
    try:
        missing = await embedded.missing_search_attributes(client)
    except errors.ConfigurationError as wrong:
        return fail(name, str(wrong), "remove the attributes that have another type, or use another namespace")
    if missing:
        return fail(
            name,
            f"{', '.join(sorted(missing))} are not registered in namespace {client.namespace}",
            "start fettle up once, or add them with temporal operator search-attribute create",
        )
    return ok(name, "all registered")


async def _workers(client: Client) -> list[Check]:
    found = await polling.list_all(client)
    checks = []
    for queue, kind, command in (
        (wire.CONTROL_QUEUE, "workflows", "fettle worker control"),
        (wire.CONTROL_QUEUE, "activities", "fettle worker control"),
        (wire.AGENTS_QUEUE, "activities", "fettle worker agents"),
    ):
        fresh = [p for p in found if p.queue == queue and p.kind == kind and p.is_fresh]
        name = f"workers on {queue} ({kind})"
        if fresh:
            checks.append(ok(name, f"{len(fresh)} poll: {', '.join(sorted({p.identity for p in fresh})[:3])}"))
        else:
            checks.append(fail(name, "nobody polls, so runs stand still", f"start one with fettle up or {command}"))
    return checks


async def _store(config: settings.Settings) -> list[Check]:
    """Read only: a doctor changes nothing, and does not make the file of a store that was never used."""
    try:
        place = database.parse(config.store_dsn)
        file = pathlib.Path(place.database or "") if place.get_backend_name() == database.SQLITE else None
        if file is not None and not file.exists():
            return [warn("store", f"{file} does not exist yet", "fettle worker migrate, or start fettle up")]
        found, newest = await _revisions(config.store_dsn)
    except (database.StoreUnavailable, errors.ConfigurationError) as away:
        return [fail("store", str(away), "start the database, or correct store_url")]
    shown = place.render_as_string(hide_password=True)
    if found != newest:
        return [fail("store", f"{shown} is at revision {found or 'none'}, not {newest}", "fettle worker migrate")]
    return [ok("store", f"{shown} at revision {found}")]


async def _revisions(dsn: str) -> tuple[str | None, str | None]:
    """The schema's revision in the database, and the newest that this build knows."""
    known = script.ScriptDirectory(str(pathlib.Path(migrate.__file__).parent / "migrations"))
    opened = database.connect(dsn)
    try:
        async with opened.reading() as connected:
            found = await connected.run_sync(
                lambda sync: migration.MigrationContext.configure(sync).get_current_revision()
            )
        return found, known.get_current_head()
    finally:
        await opened.engine.dispose()


async def _forge(config: settings.Settings) -> list[Check]:
    try:
        api_url = outside.forge_settings(config).api_url
        async with outside.forge(config) as forge:
            login = await forge.whoami()
            checks = [ok("forge", f"{api_url} as {login}"), await _clock(api_url)]
            return checks + await _repositories(forge, await _registered(config))
    except errors.ConfigurationError as wrong:
        return [fail("forge", str(wrong), "set FETTLE_FORGE__TOKEN_FILE, or the app's settings")]
    except errors.BadCredentials as wrong:
        return [fail("forge", str(wrong), "make a new token, or correct the app's key")]
    except errors.ForgeError as away:
        return [fail("forge", str(away), "check forge.api_url and the network", unreachable=True)]


async def _registered(config: settings.Settings) -> Sequence[Registration]:
    """None where the store is not usable as it is: its own check tells, and opening it would migrate it."""
    if (await _store(config))[0].level is not Level.OK:
        return []
    opened = database.connect(config.store_dsn)
    try:
        return await Repositories(opened).list()
    except errors.FettleError:
        return []
    finally:
        await opened.engine.dispose()


async def _repositories(forge: GitHub, found: Sequence[Registration]) -> list[Check]:
    if not found:
        return [warn("repositories", "none is registered", "fettle repo add owner/name")]
    checks = []
    for registration in found[:_REPOSITORIES]:
        name = f"repository {registration.ref}"
        try:
            facts = await forge.repository(registration.ref)
        except errors.NotFound:
            checks.append(fail(name, "not visible to us", f"give access, or fettle repo remove {registration.ref}"))
            continue
        if facts.archived or not facts.can_push:
            why = "archived" if facts.archived else "readable, but we may not push"
            checks.append(fail(name, why, "give write permission on contents, issues and pull requests"))
        else:
            checks.append(ok(name, f"may push, base {registration.policy.base_branch or facts.default_branch}"))
    return checks


async def _clock(api_url: str) -> Check:
    """Our clock against the Date header of the forge, which is exact to a second."""
    host = httpx.URL(api_url).host
    loopback = host in {"127.0.0.1", "::1", "localhost"}
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=not loopback) as client:
            answer = await client.head(api_url)
            theirs = email.utils.parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError) as unknown:
        return warn("clock", f"the forge gives no time ({type(unknown).__name__})", "check it by hand: date -u")
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    said = f"{skew:.0f} s from the forge's"
    if skew > _SKEW_FAIL:
        return fail("clock", said, "set this machine's clock (NTP): signed tokens are refused")
    return warn("clock", said, "set this machine's clock (NTP)") if skew > _SKEW_WARN else ok("clock", said)


PROBES: Final[tuple[tuple[str, Probe], ...]] = (("temporal", _temporal), ("store", _store), ("forge", _forge))
