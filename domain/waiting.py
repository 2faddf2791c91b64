"""One wait of a run: what it is for, whose move it is, what ends it."""

import enum
from datetime import datetime

from pydantic import BaseModel


class Mover(enum.StrEnum):
    """Who has to act before the run goes on."""

    PERSON = "a person"
    FETTLE = "fettle"
    AGENT = "the agent"
    CI = "ci"
    OTHER_RUNS = "other runs"
    FORGE = "the forge"
    NOBODY = "nobody"


class Wait(BaseModel):
    """One wait, in words that complete "it waits for …" and "it ends when …"."""

    waits_for: str
    mover: Mover
    ends_when: str
    command: str
    deadline: datetime | None = None
