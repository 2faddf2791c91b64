"""Resource limits of an untrusted process: what one run may take from its host."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

MEBIBYTE: Final = 1024 * 1024


class ProcessLimits(BaseModel):
    """What a process and all its children may use together, where the kernel can count them together.

    A kernel limit (setrlimit) can only be lowered, so a host that allows less keeps its own value. 0: no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    open_files: int = Field(default=4096, ge=64)
    """Of one process."""
    processes: int = Field(default=2048, ge=0)
    """Held by a control group where we may make one, by the kernel for each user, and by the launcher's own watch."""
    file_mebibytes: int = Field(default=2048, ge=1)
    """The largest file."""
    memory_mebibytes: int = Field(default=8192, ge=0)
    """Of the tree (control group, or the launcher's watch) and of any one process (the kernel's limit of data)."""
    disk_mebibytes: int = Field(default=20480, ge=0)
    """What the writable directories may grow by during one process's life."""
    tmp_mebibytes: int = Field(default=1024, ge=1)
    """Each of the temporary file systems of a level that has its own: they live in memory."""
    cpu_seconds: int = Field(default=6 * 3600, ge=0)
    """CPU time of one process; time on the clock is limited by whoever started it."""
    niceness: int = Field(default=5, ge=0, le=19)
    """The worker's own processes come first: a heartbeat must not wait for a compiler."""

    def as_rlimits(self) -> dict[str, int]:
        """Names of the `resource` module and values. Core dumps are off: they would hold the model's key."""
        found = {
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_FSIZE": self.file_mebibytes * MEBIBYTE,
            "RLIMIT_CORE": 0,
            "RLIMIT_NPROC": self.processes,
            # Counts private writable pages. Not RLIMIT_AS: it counts what runtimes reserve and never touch.
            "RLIMIT_DATA": self.memory_mebibytes * MEBIBYTE,
            "RLIMIT_CPU": self.cpu_seconds,
        }
        return {name: value for name, value in found.items() if value or name == "RLIMIT_CORE"}
