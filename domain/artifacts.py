"""References to what is too large for a history: transcripts, logs, diffs."""

from pydantic import BaseModel, ConfigDict


class ArtifactRef(BaseModel):
    """Where a large thing is kept. `key` is relative to the artifact store, `size` is in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    sha256: str = ""
    size: int = 0
    summary: str = ""
