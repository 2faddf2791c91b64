"""From an installation's settings to its agents' way out."""

from collections.abc import Mapping

import structlog

from activities import artifact_store, egress
from domain import redaction
from sandbox.egress import rules
from workers import settings

_log = structlog.stdlib.get_logger(__name__)


def of(
    known: settings.Settings,
    environment: Mapping[str, str],
    artifacts: artifact_store.ArtifactStore,
    redactor: redaction.Redactor,
) -> egress.Egress:
    """What `AgentTurnActivities` and the verification open for each process.

    Args:
        environment: The worker's; the models' keys are in it.
    """
    named = known.egress_registries.by_name()
    decided = rules.Rules.of(
        (*known.egress_allow, *(host for hosts in named.values() for host in hosts)),
        private=known.egress_private,
        never=rules.forge_hosts((known.forge.api_url, known.forge.git_url)),
    )
    if overruled := decided.overruled():
        _log.warning(
            "hosts of the forge stay closed to agents",
            hosts=overruled,
            because="an agent that reaches the forge could push anywhere; remove them from the egress settings",
        )
    return egress.Egress(decided, artifacts, redactor, environment, named)
