"""Resource limits of an untrusted process: what one run may take from its host."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

MEBIBYTE: Final = 1024 * 1024


class ProcessLimits(BaseModel):
    """Kernel limits (setrlimit) that the process and all its children inherit. A limit can only be lowered, so a host
    that allows less keeps its own value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    open_files: int = Field(default=4096, ge=64)
    processes: int = Field(default=2048, ge=16)
    """Counted by the kernel over every process of the same user, and not held against root."""
    file_mebibytes: int = Field(default=2048, ge=1)

    def as_rlimits(self) -> dict[str, int]:
        """Names of the `resource` module and values. Core dumps are off: they would hold the model's key."""
        return {
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_mebibytes * MEBIBYTE,
            "RLIMIT_CORE": 0,
        }
