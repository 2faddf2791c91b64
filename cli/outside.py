"""The forge and the store, opened from the settings for as long as one command needs them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pydantic

from domain import errors
from integrations.agent import claude, registry, scripted
from integrations.forge import connect
from integrations.forge.github import GitHub
from store import engine
from workers import connection, embedded_forge, settings


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
    given = _connection(config)
    wanted = given.model_dump(exclude={"token_file", "private_key_file"}, exclude_none=True)
    try:
        return connect.ForgeSettings.model_validate(wanted)
    except pydantic.ValidationError as wrong:
        problems = "; ".join(e["msg"].removeprefix("Value error, ") for e in wrong.errors(include_url=False))
        raise errors.ConfigurationError(
            f"the forge at {given.api_url} cannot be used, {problems}: set FETTLE_FORGE__TOKEN_FILE, or the app's "
            "settings, in the environment or in fettle.toml; or start an embedded forge with fettle up"
        ) from wrong


def _connection(config: settings.Settings) -> settings.ForgeConnection:
    up = connection.read_up(config.state_dir) or {}
    if "forge" in config.model_fields_set or "devforge" not in (up.get("processes") or {}):
        return config.forge
    port = urlsplit(str(up["forge_url"])).port or 0
    told = embedded_forge.EmbeddedForge(config.state_dir, port).environment()
    return settings.ForgeConnection.model_validate(
        {"api_url": told["FETTLE_FORGE__API_URL"], "token_file": told["FETTLE_FORGE__TOKEN_FILE"]}
    )


def agent_settings(config: settings.Settings) -> registry.AgentSettings:
    """How the agents of this machine are found."""
    place = config.scripted
    is_file = place is not None and place.is_file()
    return registry.AgentSettings(
        claude=claude.ClaudeSettings(credentials_file=config.claude_credentials_file),
        scripted=scripted.ScriptedSettings(script=place if is_file else None, folder=place if not is_file else None),
    )


@asynccontextmanager
async def store(config: settings.Settings) -> AsyncIterator[engine.Store]:
    """The store, migrated to this build's schema."""
    opened = await engine.open_store(config.store_dsn)
    try:
        yield opened
    finally:
        await opened.aclose()
