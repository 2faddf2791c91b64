"""The repositories that Fettle works on, each with the settings its operator gave it."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydantic
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from domain import errors, refs
from domain.policy import RepositoryPolicy, RetryBudgets  # `policy` is a field below
from store import database, schema

_table = schema.repositories


class Registration(BaseModel):
    """A registered repository. Only the settings that were given are kept, so the others follow later defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: refs.Repository
    policy: RepositoryPolicy = Field(default_factory=RepositoryPolicy)
    added_at: datetime
    enabled: bool = True


@dataclass(frozen=True)
class Repositories:
    """Every method raises `database.StoreUnavailable` when the database cannot serve it.

    A repository is found whatever the case of its name, as on the forge.
    """

    database: database.Database

    async def upsert(self, registration: Registration) -> None:
        """Register, or replace settings and state of what is registered; the first `added_at` stays."""
        changing = {
            "owner": registration.ref.owner,
            "name": registration.ref.name,
            "policy": registration.policy.model_dump_json(exclude_unset=True),
            "enabled": registration.enabled,
        }
        async with self.database.writing() as connection:
            await connection.execute(
                database.insert(connection, _table)
                .values(key=_key(registration.ref), added_at=registration.added_at, **changing)
                .on_conflict_do_update(index_elements=["key"], set_=changing)
            )

    async def list(self) -> Sequence[Registration]:
        """All of them, by name.

        Raises:
            ConfigurationError: a stored policy cannot be read; it names the repository and the key.
        """
        async with self.database.reading() as connection:
            rows = await connection.execute(sa.select(_table).order_by(_table.c.key))
            return [_registration(row) for row in rows.mappings()]

    async def get(self, ref: refs.Repository) -> Registration | None:
        """One of them, or None when it is not registered.

        Raises:
            ConfigurationError: its stored policy cannot be read; it names the key.
        """
        async with self.database.reading() as connection:
            rows = await connection.execute(sa.select(_table).where(_table.c.key == _key(ref)))
            row = rows.mappings().one_or_none()
            return None if row is None else _registration(row)

    async def remove(self, ref: refs.Repository) -> bool:
        """Forget it; False when it was not registered."""
        async with self.database.writing() as connection:
            gone = await connection.execute(sa.delete(_table).where(_table.c.key == _key(ref)))
            return gone.rowcount > 0


def _key(ref: refs.Repository) -> str:
    return str(ref).lower()


def _registration(row: sa.RowMapping) -> Registration:
    ref = refs.Repository(owner=row["owner"], name=row["name"])
    try:
        settings = RepositoryPolicy.model_validate_json(row["policy"])
    except pydantic.ValidationError as invalid:
        problems = "; ".join(_problem(dict(error)) for error in invalid.errors(include_url=False))
        raise errors.ConfigurationError(
            f"The stored policy of {ref} cannot be used: {problems}. Register {ref} again with a policy that "
            "this build knows, or run the build that wrote it"
        ) from invalid
    return Registration(ref=ref, policy=settings, added_at=row["added_at"], enabled=row["enabled"])


def _problem(error: dict[str, Any]) -> str:
    *parents, key = error["loc"] or ("policy",)
    path = ".".join(map(str, (*parents, key)))
    if error["type"] != "extra_forbidden":
        return f"'{path}' is {error['input']!r}: {error['msg']}"
    model = RetryBudgets if parents == ["budgets"] else RepositoryPolicy
    accepted = sorted(model.model_fields)
    close = difflib.get_close_matches(str(key), accepted, n=1)
    return f"'{path}' is no key of it" + (f" (did you mean '{close[0]}'?)" if close else f" ({', '.join(accepted)})")
