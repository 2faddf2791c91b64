"""From settings to a forge adapter: the one place that knows which adapters there are."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import pydantic

from domain import errors
from integrations.forge import auth, github, github_api, http


class ForgeSettings(pydantic.BaseModel):
    """Which forge, and who we are there: either a token, or a GitHub App with a key and an installation."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["github"] = "github"
    """`github` is also for GitHub Enterprise Server and every server that speaks its API."""
    api_url: str = "https://api.github.com"
    git_url: str = ""
    """Address below which repositories are cloned. Empty: derived from `api_url`."""
    token: pydantic.SecretStr | None = None
    app_id: int | None = pydantic.Field(default=None, gt=0)
    private_key: pydantic.SecretStr | None = None
    private_key_file: Path | None = None
    installation_id: int | None = pydantic.Field(default=None, gt=0)

    @pydantic.field_validator("api_url", "git_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("not an address: expected http:// or https:// and a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an address must not carry credentials, a query or a fragment: put the token into token")
        return value.rstrip("/")

    @pydantic.model_validator(mode="after")
    def _is_one_identity(self) -> Self:
        app = {
            "app_id": self.app_id,
            "installation_id": self.installation_id,
            "private_key or private_key_file": self.private_key or self.private_key_file,
        }
        given = [name for name, value in app.items() if value is not None]
        if self.token is not None and given:
            raise ValueError(f"token and {', '.join(given)} name two identities: keep the token or the app")
        if self.token is None and len(given) < len(app):
            missing = ", ".join(name for name in app if name not in given)
            raise ValueError(f"no identity: set token, or complete the app's settings (missing: {missing})")
        if self.private_key is not None and self.private_key_file is not None:
            raise ValueError("private_key and private_key_file both give the app's key: keep one of them")
        if self.token is not None and not self.token.get_secret_value().strip():
            raise ValueError("token is empty: set it to a token, or remove it and set the app's settings")
        return self

    @property
    def git_base(self) -> str:
        """GitHub keeps its API on a host of its own, Enterprise Server below a path, others beside their git."""
        if self.git_url:
            return self.git_url
        parts = urlsplit(self.api_url)
        host = parts.netloc
        if host == "api.github.com" or (host.startswith("api.") and host.endswith(".ghe.com")):
            host = host.removeprefix("api.")
        return f"{parts.scheme}://{host}"


def open_forge(settings: ForgeSettings) -> github.GitHub:
    """An adapter that is ready to use; nothing is asked of the forge yet. The caller closes it with `aclose`.

    Raises:
        errors.ConfigurationError: the app's private key cannot be read.
    """
    transport = http.Transport(settings.api_url)
    return github.GitHub(github_api.Api(transport, _identity(settings, transport)), git_url=settings.git_base)


def _identity(settings: ForgeSettings, transport: http.Transport) -> auth.Auth:
    if settings.token is not None:
        return auth.TokenAuth(transport, settings.token.get_secret_value().strip())
    if settings.app_id is None or settings.installation_id is None:
        raise errors.ConfigurationError(
            "the forge has no identity: settings have neither a token nor a complete app; "
            "set token, or app_id with installation_id and a private key"
        )
    return auth.AppAuth(
        transport,
        app_id=settings.app_id,
        installation_id=settings.installation_id,
        private_key=_private_key(settings),
    )


def _private_key(settings: ForgeSettings) -> str:
    if settings.private_key is not None:
        return settings.private_key.get_secret_value()
    path = settings.private_key_file or Path()
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as problem:
        raise errors.ConfigurationError(
            f"the private key of GitHub App {settings.app_id} cannot be read from {path} ({type(problem).__name__}); "
            "set private_key_file to the .pem file, readable for this process"
        ) from problem
