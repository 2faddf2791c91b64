"""The webhook inbox: every verified delivery is written here before it is answered, and stays until it was handled.

A redelivery keeps its id, and a forge never redelivers by itself. So a delivery counts as a duplicate only once it was
*handled*; one that was received and then lost in a crash is still due.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from store import database, schema, text

_ERROR_LIMIT: Final = 2000

_table = schema.deliveries


class Receipt(enum.StrEnum):
    """What the inbox made of a delivery."""

    NEW = "new"
    PENDING = "pending"
    """Known, but not handled yet: it was made due at once."""
    HANDLED = "handled"
    """A duplicate: nothing is to be done."""


class Delivery(BaseModel):
    """One delivery as it is kept. `payload` is the JSON text that the forge signed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    """Key in the store; counts up in the order of arrival."""
    source: str
    delivery_id: str
    event: str
    payload: str
    received_at: datetime
    due_at: datetime
    attempts: int = 0
    """How often handling it failed."""
    last_error: str = ""


@dataclass(frozen=True)
class Inbox:
    """Every method raises `database.StoreUnavailable` when the database cannot serve it."""

    database: database.Database

    async def receive(
        self, *, source: str, delivery_id: str, event: str, payload: str, received_at: datetime
    ) -> Receipt:
        """Keep a delivery, unless it is known; of any number of concurrent calls for one id, one answers NEW."""
        async with self.database.writing() as connection:
            row = await connection.execute(
                database.insert(connection, _table)
                .values(
                    source=source,
                    delivery_id=delivery_id,
                    event=event,
                    payload=payload,
                    received_at=received_at,
                    due_at=received_at,
                    attempts=0,
                    last_error="",
                )
                .on_conflict_do_nothing(index_elements=["source", "delivery_id"])
                .returning(_table.c.id)
            )
            if row.scalar_one_or_none() is not None:
                return Receipt.NEW
            again = await connection.execute(
                sa.update(_table)
                .where(_table.c.source == source, _table.c.delivery_id == delivery_id, _table.c.handled_at.is_(None))
                .values(due_at=received_at)
            )
            return Receipt.PENDING if again.rowcount else Receipt.HANDLED

    async def unhandled(self, limit: int, *, due_at: datetime, after: int = 0) -> Sequence[Delivery]:
        """Deliveries that are due and not handled, oldest first.

        Args:
            limit: At most so many.
            due_at: The present time; a delivery that failed waits until its own.
            after: Only those with a larger `id`, so that a caller can page past what it has in hand.
        """
        async with self.database.reading() as connection:
            rows = await connection.execute(
                sa.select(*(_table.c[field] for field in Delivery.model_fields))
                .where(_table.c.handled_at.is_(None), _table.c.due_at <= due_at, _table.c.id > after)
                .order_by(_table.c.id)
                .limit(limit)
            )
            return [Delivery.model_validate(dict(row)) for row in rows.mappings()]

    async def mark_handled(self, id: int, *, handled_at: datetime) -> None:
        """From now on every redelivery is a duplicate."""
        await self._update(id, handled_at=handled_at, last_error="")

    async def mark_failed(self, id: int, *, error: str, due_at: datetime) -> None:
        """Count a failed attempt and keep the delivery; it is due again at `due_at`."""
        await self._update(
            id, attempts=_table.c.attempts + 1, last_error=text.storable(error, _ERROR_LIMIT), due_at=due_at
        )

    async def prune(self, *, handled_before: datetime) -> int:
        """Forget deliveries that were handled before this time, and say how many. What is not handled always stays."""
        async with self.database.writing() as connection:
            gone = await connection.execute(sa.delete(_table).where(_table.c.handled_at < handled_before))
            return gone.rowcount

    async def check(self) -> None:
        """Read one row, as proof that the inbox can be reached and has its table."""
        async with self.database.reading() as connection:
            await connection.execute(sa.select(_table.c.id).limit(1))

    async def _update(self, id: int, **values: object) -> None:
        async with self.database.writing() as connection:
            await connection.execute(
                sa.update(_table).where(_table.c.id == id, _table.c.handled_at.is_(None)).values(**values)
            )
