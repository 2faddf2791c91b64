"""What an intake schedule asks for: one repository's issues that carry the trigger label."""

from pydantic import BaseModel, ConfigDict, Field

from domain import refs, wire


class IntakeRequest(BaseModel):
    """Input of every scheduled intake. `window_seconds` is the schedule's interval: one look covers that long."""

    model_config = ConfigDict(extra="ignore")

    repo: refs.Repository
    label: str = Field(default=wire.LABEL_TRIGGER, min_length=1)
    window_seconds: int = Field(default=30, ge=1)
