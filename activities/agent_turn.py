"""One turn of a coding agent, confined and watched, from its prompt to a verdict.

Running it twice is safe: the session's id is known before its process exists, so a retry ends what the lost attempt
left on this host, finds the conversation's transcript, and continues it. On another host it finds the newest checkpoint
instead. Without either it starts the same session afresh, and says what is there already. Commits are not made here,
and what the agent wrote is judged elsewhere.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError
from temporalio import activity

from activities import rooms, turn_attempt, turn_checkpoint, turn_fence, turn_host
from domain import agent, errors, wire
from integrations.agent import port


@dataclass(frozen=True)
class AgentTurnActivities(turn_host.Host):
    """The agent side of one host."""

    @activity.defn(name=wire.RUN_AGENT)
    async def run_agent(self, request: agent.TurnRequest) -> agent.TurnResult:
        """Play one turn to its end and say how it ended.

        A second attempt finds the newest `Progress` in its heartbeat details and the session's record and transcript on
        this host; it resumes rather than repeats.

        Raises:
            ConfigurationError: the worktree is not one of this host, or the request has no prompt.
            AgentUnavailable: the backend is unknown, not installed or not logged in.
            AgentCrashed: the process ended without a verdict, or the session is held by another one.
            AgentStalled: no first line in time, no output and no work for the silence limit, or stopped.
            AgentTimedOut: the total limit of the turn has passed.
            QuotaExhausted: the provider's limit; not before `retry_after`.
            LeaseLost: another host has taken the run over.
        """
        worktree = rooms.contained(self.state_dir, request.worktree)
        backend = self._backend(request.session.backend)
        found = await asyncio.to_thread(backend.discover, self.confinement.host_environment)
        if not found.ready:
            raise errors.AgentUnavailable(f"{backend.name} cannot run on this host: {found.why_not}")
        known = await self.checkpoints.find(request.run, request.session) if self.checkpoints else None
        session = _session(backend, request, _prior(), known)
        progress = _prior()
        if progress is None or progress.turn != request.round:
            progress = agent.Progress(session=session)
        progress = progress.model_copy(
            update={"session": session.model_copy(update={"version": found.version}), "turn": request.round}
        )
        attempt = turn_attempt.Attempt(self, backend, found, request, worktree, progress, known)
        async with (
            attempt.heartbeats(),
            turn_fence.hold(self.state_dir, session, request.limits.stop_grace_seconds, attempt.places) as fence,
        ):
            return await attempt.play(fence)

    def _backend(self, name: str) -> port.AgentBackend:
        backend = self.backends.get(name)
        if backend is None:
            raise errors.AgentUnavailable(
                f"the run asks for the agent '{name}', this host has {sorted(self.backends)}: correct `agent` in the "
                "policy, or add the backend to the host's settings"
            )
        return backend


def _session(
    backend: port.AgentBackend,
    request: agent.TurnRequest,
    prior: agent.Progress | None,
    known: turn_checkpoint.Note | None,
) -> agent.Session:
    """The conversation of this turn: the one of the attempt before, or of the host before, else the one asked for."""
    if prior is not None and prior.session.id and prior.session.backend == backend.name:
        return prior.session
    if known is not None and known.progress.session.id:
        return known.progress.session
    return request.session if request.session.id else backend.new_session()


def _prior() -> agent.Progress | None:
    """The newest heartbeat of the attempts before this one; it comes back untyped, possibly from another version."""
    details = activity.info().heartbeat_details
    with suppress(ValidationError):
        return agent.Progress.model_validate(details[0]) if details else None
    return None
