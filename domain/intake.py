"""What an intake schedule asks for: one repository's issues that carry the trigger label."""

from pydantic import BaseModel, ConfigDict, Field

from domain import refs, wire


class IntakeRequest(BaseModel):
    """Input of every scheduled intake. No window: the label says what is new, however long nobody looked."""

    model_config = ConfigDict(extra="ignore")

    repo: refs.Repository
    label: str = Field(default=wire.LABEL_TRIGGER, min_length=1)
