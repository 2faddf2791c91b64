"""From an installation's settings to the agents': what they are, and which of them can work here."""

from collections.abc import Mapping

import structlog

from integrations.agent.claude import ClaudeSettings
from integrations.agent.port import AgentBackend
from integrations.agent.registry import AgentSettings
from integrations.agent.scripted import ScriptedSettings
from workers import settings

_log = structlog.stdlib.get_logger(__name__)


def backend_settings(known: settings.Settings) -> AgentSettings:
    """What `registry.backends` takes."""
    recorded = known.scripted
    is_file = recorded is not None and not recorded.is_dir()
    return AgentSettings(
        claude=ClaudeSettings(credentials_file=known.claude_credentials_file, sandboxed=known.claude_sandboxed),
        scripted=ScriptedSettings(
            script=recorded if is_file else None,
            folder=None if is_file else recorded,
        ),
    )


def versions(backends: Mapping[str, AgentBackend], environment: Mapping[str, str]) -> dict[str, str]:
    """Agent CLIs that can work on this host, with their versions."""
    found = {name: backend.discover(environment) for name, backend in backends.items()}
    for name, discovery in found.items():
        if not discovery.ready:
            _log.info("this host does not run an agent", agent=name, because=discovery.why_not)
    return {name: discovery.version for name, discovery in found.items() if discovery.ready}
