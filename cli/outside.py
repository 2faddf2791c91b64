"""The forge and the store, opened from the settings for as long as one command needs them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from integrations.forge import connect
from integrations.forge.github import GitHub
from store import engine
from workers import connection, embedded_forge, forges, settings


@asynccontextmanager
async def forge(config: settings.Settings) -> AsyncIterator[GitHub]:
    """The configured forge.

    Raises:
        errors.ConfigurationError: the settings name no usable forge.
    """
    opened = connect.open_forge(forge_settings(config))
    try:
        yield opened
    finally:
        await opened.aclose()


def forge_settings(config: settings.Settings) -> connect.ForgeSettings:
    """The forge that is configured; without one, the embedded forge of the `fettle up` that runs on this state.

    Raises:
        errors.ConfigurationError: the settings are not complete.
    """
    return forges.adapter_settings(_connection(config))


def _connection(config: settings.Settings) -> settings.ForgeConnection:
    up = connection.read_up(config.state_dir) or {}
    if "forge" in config.model_fields_set or "devforge" not in (up.get("processes") or {}):
        return config.forge
    port = urlsplit(str(up["forge_url"])).port or 0
    told = embedded_forge.EmbeddedForge(config.state_dir, port).environment()
    return settings.ForgeConnection.model_validate(
        {"api_url": told["FETTLE_FORGE__API_URL"], "token_file": told["FETTLE_FORGE__TOKEN_FILE"]}
    )


@asynccontextmanager
async def store(config: settings.Settings) -> AsyncIterator[engine.Store]:
    """The store, migrated to this build's schema."""
    opened = await engine.open_store(config.store_dsn)
    try:
        yield opened
    finally:
        await opened.aclose()
