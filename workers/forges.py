"""From an installation's settings to the forge adapter's: refused in words before anything is started on them."""

import pydantic

from domain import errors
from integrations.forge import connect
from workers import settings


def adapter_settings(given: settings.ForgeConnection) -> connect.ForgeSettings:
    """What `connect.open_forge` takes.

    Raises:
        errors.ConfigurationError: the settings name no usable forge, or nobody to be there.
    """
    wanted = given.model_dump(exclude={"token_file", "private_key_file"}, exclude_none=True)
    try:
        return connect.ForgeSettings.model_validate(wanted)
    except pydantic.ValidationError as wrong:
        problems = "; ".join(e["msg"].removeprefix("Value error, ") for e in wrong.errors(include_url=False))
        raise errors.ConfigurationError(
            f"the forge at {given.api_url} cannot be used, {problems}: set FETTLE_FORGE__TOKEN_FILE, or the app's "
            "settings, in the environment or in fettle.toml; or start an embedded forge with fettle up"
        ) from wrong


def refuse_incomplete(known: settings.Settings) -> None:
    """Refuse settings on which a part of the installation could not start, while nothing is started yet.

    Raises:
        errors.ConfigurationError: the forge has no identity, or the webhooks no secret.
    """
    adapter_settings(known.forge)
    if known.webhook_secret is None or not known.webhook_secret.get_secret_value().strip():
        raise errors.ConfigurationError(
            f"webhook_secret is empty, and no delivery of {known.forge.api_url} could be verified without it: set "
            "FETTLE_WEBHOOK_SECRET_FILE to a file with the secret of the webhook on the forge"
        )
