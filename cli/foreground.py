"""Run a part of the installation in this process, with the settings of one state directory."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from cli import render
from store import migrate as migrations
from workers import connection, settings


def run(part: Callable[[settings.Settings], Any], state: Path | None) -> None:
    """Run `part` until it ends; it handles SIGTERM itself."""
    outcome = part(_settings(state))
    if inspect.iscoroutine(outcome):
        connection.run(outcome)


def migrate(state: Path | None, *, as_json: bool) -> None:
    """Bring the store to this build's schema."""
    config = _settings(state)
    asyncio.run(migrations.upgrade(config.store_dsn))
    place = make_url(config.store_dsn).render_as_string(hide_password=True)
    render.emit({"store": place, "migrated": True}, f"the store at {place} is up to date", as_json=as_json)


def _settings(state: Path | None) -> settings.Settings:
    return settings.load(state_dir=state) if state else settings.load()
