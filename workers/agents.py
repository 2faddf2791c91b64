"""From an installation's settings to the agents': what they are, and which of them can work here."""

from collections.abc import Mapping

import structlog
from temporalio import client

from activities import code_graph, judging
from domain.redaction import Redactor
from integrations.agent import judge, registry
from integrations.agent.claude import ClaudeSettings
from integrations.agent.port import AgentBackend
from integrations.agent.registry import AgentSettings
from integrations.agent.scripted import ScriptedSettings
from integrations.git.mirror import Mirrors
from workers import settings

_log = structlog.stdlib.get_logger(__name__)


def backend_settings(known: settings.Settings) -> AgentSettings:
    """What `registry.backends` takes."""
    recorded = known.scripted
    is_file = recorded is not None and not recorded.is_dir()
    return AgentSettings(
        claude=ClaudeSettings(
            credentials_file=known.claude_credentials_file,
            sandboxed=known.claude_sandboxed or known.sandbox != "none",  # a host whose level fails starts no agent
        ),
        codex=known.codex,
        gemini=known.gemini,
        kimi=known.kimi,
        opencode=known.opencode,
        scripted=ScriptedSettings(
            script=recorded if is_file else None,
            folder=None if is_file else recorded,
        ),
    )


def keys(backends: Mapping[str, AgentBackend], environment: Mapping[str, str]) -> frozenset[str]:
    """The model keys that this process holds, for the redactor."""
    names = {name for b in backends.values() for name in (*(b.model_api.key_variables if b.model_api else ()),)}
    return frozenset(environment[name] for name in names if environment.get(name))


def versions(backends: Mapping[str, AgentBackend], environment: Mapping[str, str]) -> dict[str, str]:
    """Agent CLIs that can work on this host, with their versions."""
    found = {name: backend.discover(environment) for name, backend in backends.items()}
    for name, discovery in found.items():
        if not discovery.ready:
            _log.info("this host does not run an agent", agent=name, because=discovery.why_not)
    return {name: discovery.version for name, discovery in found.items() if discovery.ready}


def judge_of(
    known: settings.Settings,
    agents: AgentSettings,
    backend: AgentBackend | None,
    runner: judge.Runner,
    temporal: client.Client,
) -> tuple[judge.Judge, judging.Till | None]:
    """Who judges here, and where that is paid; `backend` is the CLI that judges."""
    metered = judging.MeteredRunner(runner, backend)
    return registry.judge_named(known.judge, agents, metered), judging.till_of(known.judge, temporal)


def graph_of(known: settings.Settings, mirrors: Mirrors, redactor: Redactor) -> code_graph.CodeGraph | None:
    """What answers questions about this host's repositories; None where it is switched off."""
    if not known.code_graph_seconds:
        return None
    return code_graph.CodeGraph(
        mirrors,
        redactor,
        seconds=known.code_graph_seconds,
        memory_mebibytes=known.code_graph_memory_mebibytes,
        map_tokens=known.code_graph_map_tokens,
    )
