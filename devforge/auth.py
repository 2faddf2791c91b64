"""Who is calling, and what may they do with a repository."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import jwt

from devforge import clock, database, errors, state

LEVELS = {"none": 0, "read": 1, "triage": 2, "write": 3, "maintain": 4, "admin": 5}
_NEEDED = {
    "metadata:read": "read",
    "contents:read": "read",
    "issues:read": "read",
    "pull_requests:read": "read",
    "checks:read": "read",
    "statuses:read": "read",
    "issues:comment": "read",
    "pull_requests:comment": "read",
    "issues:write": "triage",
    "pull_requests:write": "write",
    "contents:write": "write",
    "checks:write": "write",
    "statuses:write": "write",
    "administration:read": "admin",
    "administration:write": "admin",
    "repository_hooks:read": "admin",
    "repository_hooks:write": "admin",
}
_MAX_JWT_SECONDS = 600


@dataclass(frozen=True)
class Identity:
    """A caller: nobody, a user, an installation of an app, the app itself, or the admin token."""

    kind: str
    user_id: int = 0
    login: str = "anonymous"
    app_id: int = 0
    installation_id: int = 0
    repository_ids: frozenset[int] | None = None
    permissions: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the rate limit counts by."""
        return f"{self.kind}:{self.installation_id or self.user_id or self.app_id}"


ANONYMOUS = Identity("anonymous")


def digest(token: str) -> str:
    """How a token is stored: only its hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def identify(forge: state.Forge, header: str | None) -> Identity:
    """The caller named by an `Authorization` header: Bearer, token or Basic.

    Raises:
        ApiError: 401, the credentials are unknown, malformed or expired.
    """
    if not header:
        return ANONYMOUS
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as bad:
            raise errors.bad_credentials() from bad
    elif scheme.lower() not in ("bearer", "token"):
        raise errors.bad_credentials()
    if value.count(".") == 2:
        return _app(forge, value)
    return _token(forge, value)


def _token(forge: state.Forge, token: str) -> Identity:
    if hmac.compare_digest(token.encode(), forge.admin_token.encode()):
        row = forge.db.get("SELECT id, login FROM users WHERE login = ?", state.ADMIN_LOGIN)
        return Identity("admin", row["id"], row["login"])
    found = forge.db.one(
        "SELECT t.*, u.login FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.digest = ?", digest(token)
    )
    if found is None or (found["expires_at"] is not None and found["expires_at"] <= clock.epoch()):
        raise errors.bad_credentials()
    if found["kind"] == "personal":
        return Identity("user", found["user_id"], found["login"])
    ids = database.load(found["repository_ids"])
    return Identity(
        "installation",
        found["user_id"],
        found["login"],
        forge.db.scalar("SELECT app_id FROM installations WHERE id = ?", found["installation_id"]),
        found["installation_id"],
        None if ids is None else frozenset(ids),
        database.load(found["permissions"]),
    )


def _app(forge: state.Forge, token: str) -> Identity:
    """Check an app's JSON web token: RS256 by its registered key, `iss` = app or client id, ten minutes at most."""
    unreadable = errors.ApiError(401, "A JSON web token could not be decoded")
    try:
        issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except jwt.InvalidTokenError as bad:
        raise unreadable from bad
    row = forge.db.one("SELECT * FROM apps WHERE CAST(id AS TEXT) = ? OR client_id = ?", issuer, issuer)
    if row is None:
        raise errors.ApiError(401, "Integration not found")
    if row["public_key"] is None:
        raise unreadable
    try:
        claims = jwt.decode(
            token, row["public_key"], algorithms=["RS256"], options={"require": ["exp", "iat", "iss"]}, leeway=5
        )
    except jwt.ExpiredSignatureError as late:
        raise errors.ApiError(
            401, "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        ) from late
    except (jwt.InvalidTokenError, ValueError) as bad:
        raise unreadable from bad
    if claims["exp"] > clock.epoch() + _MAX_JWT_SECONDS + 60:
        raise errors.ApiError(401, "'Expiration time' claim ('exp') is too far in the future")
    slug = forge.db.scalar("SELECT login FROM users WHERE id = ?", row["bot_id"])
    return Identity("app", row["bot_id"], slug, row["id"])


def covered(forge: state.Forge, installation_id: int, repo: database.Row) -> bool:
    """Whether an installation includes a repository."""
    found = forge.db.one("SELECT account_id, repository_ids FROM installations WHERE id = ?", installation_id)
    if found is None or found["account_id"] != repo["owner_id"]:
        return False
    ids = database.load(found["repository_ids"])
    return ids is None or repo["id"] in ids


def level(forge: state.Forge, user_id: int, repo: database.Row) -> str:
    """A user's permission on a repository: none, read, triage, write, maintain or admin."""
    if user_id and user_id == repo["owner_id"]:
        return "admin"
    granted = forge.db.scalar(
        "SELECT permission FROM collaborators WHERE repo_id = ? AND user_id = ?", repo["id"], user_id
    )
    return str(granted) if granted else ("none" if repo["private"] else "read")


def allows(forge: state.Forge, who: Identity, repo: database.Row, need: str) -> bool:
    """Whether a caller may do what `need` (`scope:level`) names on a repository."""
    if who.kind == "admin":
        return True
    if who.kind == "installation":
        scope, _, wanted = need.partition(":")
        public_read = wanted == "read" and not repo["private"] and scope not in ("administration", "repository_hooks")
        inside = covered(forge, who.installation_id, repo) and (
            who.repository_ids is None or repo["id"] in who.repository_ids
        )
        granted = who.permissions.get(scope, "read" if scope == "metadata" else "")
        return public_read or (inside and (granted == "write" or (granted == "read" and wanted == "read")))
    if who.kind == "user":
        return LEVELS[level(forge, who.user_id, repo)] >= LEVELS[_NEEDED[need]]
    return not repo["private"] and need.endswith(":read") and _NEEDED[need] == "read"


def require(forge: state.Forge, who: Identity, repo: database.Row, *needs: str) -> None:
    """Let a caller pass who has one of the needs.

    Raises:
        ApiError: 404 when the repository may not even be seen, 401 for nobody, 403 otherwise.
    """
    if any(allows(forge, who, repo, need) for need in needs):
        return
    if not allows(forge, who, repo, "metadata:read"):
        raise errors.not_found()
    if who.kind == "anonymous":
        raise errors.ApiError(401, "Requires authentication")
    if who.kind in ("installation", "app"):
        raise errors.forbidden()
    if any(need.startswith("administration") or need.startswith("repository_hooks") for need in needs):
        raise errors.forbidden("Must have admin rights to Repository.")
    raise errors.forbidden("Resource not accessible by personal access token")


def signed_in(who: Identity) -> Identity:
    """The caller, who must be somebody.

    Raises:
        ApiError: 401 for an anonymous caller.
    """
    if who.kind == "anonymous":
        raise errors.ApiError(401, "Requires authentication")
    return who


def bot_app(forge: state.Forge, who: Identity) -> Any:
    """The id of the app that a caller acts for; people act for the forge's own CI app."""
    if who.app_id:
        return who.app_id
    return forge.db.scalar("SELECT id FROM apps WHERE slug = ?", state.CI_APP)
