"""Level `none`: the worker's own account and files. For programs of one's own, and hosts that are a sandbox already."""

from dataclasses import dataclass

from sandbox import spec as spec_
from sandbox.spec import Wall


@dataclass(frozen=True)
class Unconfined:
    """Nothing but the environment, the limits and the certain end."""

    name: str = "none"
    why_not: str = ""
    own_network: bool = False
    walls: frozenset[Wall] = frozenset({Wall.PROCESSES, Wall.FILES, Wall.SURVIVORS})
    """Memory is limited as everywhere, but no wall: System V's can be had without end, and stays."""

    def plan(self, spec: spec_.Spec) -> spec_.Launch:
        return spec_.plain(spec)
