"""What a turn needs of the host that it runs on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from activities import artifact_store, egress, rooms, turn_checkpoint, turn_prompts
from activities.code_graph import CodeGraph
from activities.hooks import HookRunner  # the module's name is a field below
from domain import redaction
from integrations.agent import port


@dataclass(frozen=True)
class Host:
    """What a turn needs of its host: the backends, the directories, and how agents are confined.

    Args:
        checkpoints: Keeps conversations and work where another host finds them. None: they stay on this host.
        way_out: The agents' way out. None: what the confinement leaves open.
        hooks: Runs the repository's scripts around a turn. None: they are not run.
        graph: Knows where to look for what a task speaks of. None: agents are told nothing of it.
        checkpoint_seconds: Longest time that a turn which goes on is not kept although something changed; see
            `turn_keeping`. One that ends always is.
        drain_seconds: How long a turn may go on when the worker is told to stop; then it is interrupted and kept.
    """

    backends: Mapping[str, port.AgentBackend]
    artifacts: artifact_store.ArtifactStore
    state_dir: Path
    confinement: rooms.Confinement
    redactor: redaction.Redactor
    words: turn_prompts.Words = field(default_factory=turn_prompts.Words)
    checkpoints: turn_checkpoint.Checkpoints | None = None
    way_out: egress.Egress | None = None
    hooks: HookRunner | None = None
    graph: CodeGraph | None = None
    checkpoint_seconds: float = 60
    drain_seconds: float = 0
