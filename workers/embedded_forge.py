"""The forge that a laptop runs on: the development forge as a child process, and who we are there."""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import httpx

from domain import errors
from workers import children, connection, ports, settings, state_directory

BOT: Final = "fettle-bot"
FOLDER: Final = "forge"
ADMIN_TOKEN: Final = "admin-token"  # the name the forge gives the file in its folder
_BOT_TOKEN: Final = "forge-bot-token"
_WEBHOOK_SECRET: Final = "webhook-secret"
_POLL_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 5.0


class EmbeddedForge:
    """One forge in one state directory. It is spoken to over HTTP only, as any other forge."""

    def __init__(self, state: Path, port: int) -> None:
        """Makes the secrets that are missing; they stay the same for the life of the directory."""
        self.url = f"http://{ports.HOST}:{port}"
        self._port = port
        self._folder = state / FOLDER
        self._bot_token = state_directory.secret(state, _BOT_TOKEN, "ghp_")
        self._webhook_secret = state_directory.secret(state, _WEBHOOK_SECRET)

    def spec(self) -> children.Spec:
        """How it is started; it counts as ready when our own account exists in it."""
        return children.Spec(
            "devforge",
            (sys.executable, "-m", "devforge", "--state", str(self._folder), "--port", str(self._port)),
            connection.embedded_environment(""),
            probe=self.settle,
            url=self.url,
        )

    def environment(self) -> dict[str, str]:
        """The settings by which our workers reach it."""
        return {
            "FETTLE_FORGE__API_URL": self.url,
            "FETTLE_FORGE__TOKEN_FILE": str(self._bot_token),
            "FETTLE_WEBHOOK_SECRET_FILE": str(self._webhook_secret),
        }

    async def settle(self) -> None:
        """Wait until it answers, then see to it that our account exists with our token. Doing it twice does nothing.

        Raises:
            errors.ConfigurationError: it refuses, for instance because the folder belongs to another installation.
        """
        async with httpx.AsyncClient(base_url=self.url, timeout=_ANSWER_SECONDS, trust_env=False) as forge:
            while True:
                try:
                    health = await forge.get("/_devforge/health")
                    if health.status_code == httpx.codes.OK:
                        break
                except httpx.TransportError:  # not listening yet; the caller bounds this
                    pass
                await asyncio.sleep(_POLL_SECONDS)
            answer = await forge.post(
                "/_devforge/users",
                headers={"Authorization": f"Bearer {admin_token(self._folder.parent)}"},
                json={"login": BOT, "name": "Fettle", "token": self._bot_token.read_text("ascii").strip()},
            )
        if answer.is_error:
            raise errors.ConfigurationError(
                f"the forge at {self.url} answered {answer.status_code} when the account {BOT} was made: the port may "
                f"belong to another forge, or {self._folder} to another installation"
            )


def admin_token(state: Path) -> str:
    """The token of the embedded forge's administrator.

    Raises:
        errors.ConfigurationError: no embedded forge ever ran on this directory.
    """
    try:
        return (state / FOLDER / ADMIN_TOKEN).read_text("ascii").strip()
    except OSError as missing:
        raise errors.ConfigurationError(
            f"{state} has no embedded forge ({state / FOLDER / ADMIN_TOKEN} cannot be read): start one with `fettle up`"
        ) from missing


def overrides(state: Path, url: str) -> dict[str, Any]:
    """The settings by which a command reaches the forge that runs at `url`."""
    return {
        "forge": {"api_url": url, "token_file": state / "secrets" / _BOT_TOKEN},
        "webhook_secret_file": state / "secrets" / _WEBHOOK_SECRET,
    }


def refuse_another(known: settings.Settings) -> None:
    """Refuse settings that name a forge while the embedded one is asked for.

    Raises:
        errors.ConfigurationError: they do.
    """
    if "forge" in known.model_fields_set:
        raise errors.ConfigurationError(
            f"--embedded-forge contradicts the forge that the settings name ({known.forge.api_url}): drop the option, "
            "or remove the forge from fettle.toml and the FETTLE_FORGE__* variables"
        )
