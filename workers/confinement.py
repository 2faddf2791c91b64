"""From an installation's settings to the sandbox of this host."""

import os
from pathlib import Path

import structlog

from sandbox import levels, limits, spec
from workers import settings

_log = structlog.stdlib.get_logger(__name__)


def config(known: settings.Settings) -> levels.Config:
    """What `levels.ready` takes."""
    return levels.Config(
        state=known.host_state_dir,
        host=dict(os.environ),
        level=known.sandbox,
        read_only=tuple(Path(place) for place in known.sandbox_read_only.split(":") if place),
        user=known.sandbox_user,
        image=known.sandbox_image,
        engine=known.sandbox_engine,
    )


def rlimits(known: settings.Settings) -> limits.ProcessLimits:
    """What one confined program may take."""
    return limits.ProcessLimits(
        processes=known.sandbox_processes,
        memory_mebibytes=known.sandbox_memory_mebibytes,
        disk_mebibytes=known.sandbox_disk_mebibytes,
        file_mebibytes=known.sandbox_file_mebibytes,
        tmp_mebibytes=known.sandbox_tmp_mebibytes,
    )


async def opened(known: settings.Settings) -> spec.Level:
    """This host's level, tried. One that does not hold is returned as well: it starts nothing, and `why_not` says why;
    a host that has such a one must claim no run."""
    level = await levels.ready(config(known))
    if level.why_not:
        _log.error(
            "the sandbox does not hold on this host: it claims no run", sandbox=level.name, because=level.why_not
        )
    else:
        _log.info("programs of agents are confined", sandbox=level.name)
    return level
