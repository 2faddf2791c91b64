"""Who we are to the forge: a token, or a GitHub App that mints short-lived tokens narrowed to one repository."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import jwt
import pydantic

from domain import errors, refs
from integrations.forge import http, port

GIT_USERNAME: Final = "x-access-token"
API_PERMISSIONS: Final[Mapping[str, str]] = {
    "checks": "read",
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
}
PUSH_PERMISSIONS: Final[Mapping[str, str]] = {"contents": "write", "metadata": "read"}
RENEW_BEFORE_SECONDS: Final = 300.0
"""A token this close to its end is not handed out: the call or the push it is for may outlive it."""


class Auth(Protocol):
    """An identity on the forge."""

    grants_push: bool
    """Whether holding a token for a repository means that it may be pushed to."""

    async def login(self) -> str: ...

    async def token(self, repo: refs.Repository) -> str: ...

    def worked(self, token: str) -> None:
        """The forge accepted `token`."""
        ...

    def refused(self, token: str, refusal: errors.BadCredentials) -> errors.ForgeError:
        """What a 401 for `token` means to the caller."""
        ...

    async def push_credentials(self, repo: refs.Repository) -> port.PushCredentials: ...


class _Login(pydantic.BaseModel):
    login: str


class _App(pydantic.BaseModel):
    slug: str


class _Minted(pydantic.BaseModel):
    token: str = pydantic.Field(repr=False)
    expires_at: pydantic.AwareDatetime


class TokenAuth:
    """A personal, fine-grained or machine token: used as it is, for everything it covers."""

    grants_push = False

    def __init__(self, transport: http.Transport, token: str) -> None:
        self._transport = transport
        self._token = token

    async def login(self) -> str:
        call = http.Call("GET", "/user", to="read who the configured token belongs to")
        answer = await self._transport.send(call, authorization=f"Bearer {self._token}")
        return http.parse(_Login, answer.data, to=call.to).login

    async def token(self, repo: refs.Repository) -> str:
        return self._token

    def worked(self, token: str) -> None:
        pass

    def refused(self, token: str, refusal: errors.BadCredentials) -> errors.ForgeError:
        return refusal

    async def push_credentials(self, repo: refs.Repository) -> port.PushCredentials:
        return port.PushCredentials(username=GIT_USERNAME, token=self._token)


@dataclass(frozen=True)
class _Scope:
    """What an installation token is good for."""

    repo: refs.Repository
    push_only: bool = False

    @property
    def permissions(self) -> Mapping[str, str]:
        return PUSH_PERMISSIONS if self.push_only else API_PERMISSIONS


class AppAuth:
    """A GitHub App's installation. Tokens are narrowed to one repository and the permissions we use, and reused until
    five minutes before they end.

    Raises:
        errors.ConfigurationError: `private_key` is no RSA key in PEM form.
    """

    grants_push = True

    def __init__(
        self,
        transport: http.Transport,
        *,
        app_id: int,
        installation_id: int,
        private_key: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            jwt.get_algorithm_by_name("RS256").prepare_key(private_key)
        except (ValueError, TypeError, jwt.PyJWTError) as problem:
            raise errors.ConfigurationError(
                f"the private key of GitHub App {app_id} cannot be read as an RSA key in PEM form; "
                "use the .pem file that the app's settings page gave, whole and unchanged"
            ) from problem
        self._transport = transport
        self._app_id = app_id
        self._installation_id = installation_id
        self._private_key = private_key
        self._clock = clock
        self._minted: dict[_Scope, _Minted] = {}
        self._minting = asyncio.Lock()
        self._refusals_in_a_row = 0

    async def login(self) -> str:
        call = http.Call("GET", "/app", to=f"read GitHub App {self._app_id}")
        answer = await self._transport.send(call, authorization=f"Bearer {self._assertion()}")
        return f"{http.parse(_App, answer.data, to=call.to).slug}[bot]"

    async def token(self, repo: refs.Repository) -> str:
        return (await self._for(_Scope(repo))).token

    def worked(self, token: str) -> None:
        self._refusals_in_a_row = 0

    def refused(self, token: str, refusal: errors.BadCredentials) -> errors.ForgeError:
        """Forget the token. One refusal is an expired or not yet replicated token, which a new one cures; a second in
        a row, of a newly minted token, is not."""
        held = [scope for scope, minted in self._minted.items() if minted.token == token]
        for scope in held:
            del self._minted[scope]
        self._refusals_in_a_row += bool(held)  # several calls may be refused with one token: it counts once
        if self._refusals_in_a_row > 1:
            return refusal
        return errors.ForgeUnavailable(
            f"installation {self._installation_id} of GitHub App {self._app_id} was given a token that the forge now "
            "refuses, so it expired or was revoked; the same call again uses a new one"
        )

    async def push_credentials(self, repo: refs.Repository) -> port.PushCredentials:
        minted = await self._for(_Scope(repo, push_only=True))
        return port.PushCredentials(username=GIT_USERNAME, token=minted.token, expires_at=minted.expires_at)

    async def _for(self, scope: _Scope) -> _Minted:
        async with self._minting:  # two callers at once must not mint two tokens
            held = self._minted.get(scope)
            if held is None or held.expires_at.timestamp() - self._clock() < RENEW_BEFORE_SECONDS:
                held = self._minted[scope] = await self._mint(scope)
            return held

    async def _mint(self, scope: _Scope) -> _Minted:
        call = http.Call(
            "POST",
            f"/app/installations/{self._installation_id}/access_tokens",
            to=f"get a token for {scope.repo} from installation {self._installation_id} of GitHub App {self._app_id}",
            body={"repositories": [scope.repo.name], "permissions": dict(scope.permissions)},
        )
        answer = await self._transport.send(call, authorization=f"Bearer {self._assertion()}")
        return http.parse(_Minted, answer.data, to=call.to)

    def _assertion(self) -> str:
        """Ten minutes is the longest GitHub accepts; a minute back and a minute short allow for a wrong clock."""
        now = int(self._clock())
        claims = {"iat": now - 60, "exp": now + 480, "iss": str(self._app_id)}
        return jwt.encode(claims, self._private_key, algorithm="RS256")
