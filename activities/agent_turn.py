"""One turn of a coding agent, confined and watched, from its prompt to a verdict.

Running it twice is safe: the session's id is known before its process exists, so a retry ends what the lost attempt
left on this host, finds the conversation's transcript, and continues it; without a transcript it starts the same
session afresh. Commits are not made here, and what the agent wrote is judged elsewhere.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, NoReturn

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import artifact_store, rooms, turn_facts, turn_fence, turn_process
from domain import agent, errors, redaction, wire
from integrations import prompts
from integrations.agent import port
from integrations.git import untrusted
from sandbox import process

WORKER_SHUTDOWN: Final = "WorkerShutdown"
"""The type that Temporal itself gives to an attempt that a stopping worker gave up; the next attempt resumes."""
_SUMMARY_LIMIT: Final = 4000
_RETURNED: Final = frozenset({agent.Outcome.FINISHED, agent.Outcome.REFUSED, agent.Outcome.LIMIT})


@dataclass(frozen=True)
class AgentTurnActivities:
    """The agent side of one host: its backends, its directories, and how its agents are confined."""

    backends: Mapping[str, port.AgentBackend]
    artifacts: artifact_store.ArtifactStore
    state_dir: Path
    confinement: rooms.Confinement
    redactor: redaction.Redactor
    library: prompts.Library = field(default_factory=prompts.Library)

    @activity.defn(name=wire.RUN_AGENT)
    async def run_agent(self, request: agent.TurnRequest) -> agent.TurnResult:
        """Play one turn to its end and say how it ended.

        A second attempt finds the newest `Progress` in its heartbeat details and the session's record and transcript on
        this host; it resumes rather than repeats.

        Raises:
            ConfigurationError: the worktree is not one of this host, or the request has no prompt.
            AgentUnavailable: the backend is unknown, not installed or not logged in.
            AgentCrashed: the process ended without a verdict, or the session is held by another one.
            AgentStalled: no output and no work for the silence limit.
            AgentTimedOut: the total limit of the turn has passed.
            QuotaExhausted: the provider's limit; not before `retry_after`.
        """
        worktree = rooms.contained(self.state_dir, request.worktree)
        backend = self._backend(request.session.backend)
        discovery = await asyncio.to_thread(backend.discover, self.confinement.host_environment)
        if not discovery.ready:
            raise errors.AgentUnavailable(f"{backend.name} cannot run on this host: {discovery.why_not}")
        prior = _prior()
        session = request.session
        if not session.id:
            session = prior.session if prior and prior.session.id else backend.new_session()
        session = session.model_copy(update={"version": discovery.version})
        progress = prior if prior and prior.turn == request.round else agent.Progress(session=session)
        progress = progress.model_copy(update={"session": session, "turn": request.round})
        turn = _Turn(self, backend, request, worktree, progress)
        async with (
            turn.heartbeats(),
            turn_fence.hold(self.state_dir, session, request.limits.stop_grace_seconds, turn.places) as fence,
        ):
            return await turn.play(fence)

    def _backend(self, name: str) -> port.AgentBackend:
        backend = self.backends.get(name)
        if backend is None:
            raise errors.AgentUnavailable(
                f"the run asks for the agent '{name}', this host has {sorted(self.backends)}: correct `agent` in the "
                "policy, or add the backend to the host's settings"
            )
        return backend


class _Turn:
    """One attempt at a turn. Everything that a later attempt needs is on disk or in a heartbeat before it is needed."""

    def __init__(
        self,
        host: AgentTurnActivities,
        backend: port.AgentBackend,
        request: agent.TurnRequest,
        worktree: Path,
        progress: agent.Progress,
    ) -> None:
        self._host = host
        self._backend = backend
        self._request = request
        self._worktree = worktree
        self._progress = progress
        self._room = rooms.Room.of(host.state_dir, request.run)
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._resumed_after_loss = False

    @property
    def places(self) -> tuple[Path, ...]:
        """The directories that only processes of this run's agent work in."""
        return self._worktree, self._room.root

    @asynccontextmanager
    async def heartbeats(self) -> AsyncIterator[None]:
        """Beat while the context lasts, three times in a heartbeat time-out, and once more at its end: the newest
        details are what the next attempt finds."""
        timeout = activity.info().heartbeat_timeout or timedelta(seconds=30)
        beating = asyncio.create_task(self._beat_every(max(timeout.total_seconds() / 3, 0.2)))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            self._beat()

    async def play(self, fence: turn_fence.Fence) -> agent.TurnResult:
        info = activity.info()
        interrupted = fence.begin_round(self._request.round, f"{info.activity_id}/{info.attempt}")
        interrupted = interrupted or self._progress.launched
        self._room.prepare()
        self._backend.prepare(self._room.home)
        resume = self._backend.transcript(self._room.home, self._progress.session) is not None
        key = artifact_store.run_key(self._request.run, f"turn-{self._request.round}.jsonl")
        log = self._host.artifacts.append_to(key)
        try:
            verdict, ended = await self._run(fence, log, resume=resume, interrupted=interrupted)
            if not resume and self._backend.corrected_resume(ended.events, ended.stderr, resume=False):
                verdict, ended = await self._run(fence, log, resume=True, interrupted=True)
            elif resume and self._backend.corrected_resume(ended.events, ended.stderr, resume=True) is False:
                verdict, ended = await self._run(fence, log, resume=False, interrupted=False)
        finally:
            transcript = await process.uncancelled(log.close(f"{self._backend.name}, turn {self._request.round}"))
            self._progress.log_offset = transcript.size
        fence.record.finished = verdict.outcome in _RETURNED
        fence.save()
        if verdict.outcome not in _RETURNED:
            self._fail(verdict, ended)
        return agent.TurnResult(
            outcome=verdict.outcome,
            session=self._progress.session,
            summary=self._host.redactor.redact(verdict.summary)[:_SUMMARY_LIMIT],
            denials=verdict.denials,
            cost_usd=fence.record.cost,
            turn_cost_usd=_difference(fence.record.cost, fence.record.cost_before_round),
            seconds=round(self._clock() - self._began, 3),
            transcript=transcript,
            resumed_after_loss=self._resumed_after_loss,
        )

    async def _run(
        self, fence: turn_fence.Fence, log: artifact_store.ArtifactStream, *, resume: bool, interrupted: bool
    ) -> tuple[port.Verdict, turn_process.Ended]:
        """One process of the session. `interrupted`: this turn had begun before, in a process that was lost."""
        continued = resume and (interrupted or not self._request.resume)
        self._resumed_after_loss = self._resumed_after_loss or continued
        prompt = await self._resume_prompt() if continued else self._prompt()
        request = self._request.model_copy(
            update={"session": self._progress.session, "resume": resume, "prompt": prompt}
        )
        command = self._backend.command(request, self._room.home)
        bounds = self._request.limits
        spec = self._host.confinement.spec(
            command, self._room, self._worktree, self._backend.pass_environment, bounds.stop_grace_seconds
        )
        cost = _Cost(fence.record, fresh=not resume)

        def started(running: process.ConfinedProcess) -> None:
            fence.launched(running.launcher, running.program)
            self._progress.launched = True
            self._beat()

        def happened(event: agent.Event) -> None:
            if event.session_id and event.session_id != self._progress.session.id:
                self._progress.session = self._progress.session.model_copy(update={"id": event.session_id})
            cost.see(event)
            self._progress.cost_usd = fence.record.cost
            self._progress.log_offset = log.offset
            if event.kind is not agent.EventKind.OTHER:
                self._beat()

        supervisor = turn_process.Supervisor(spec, self._backend, bounds, log=log, on_start=started, on_event=happened)
        stopping = asyncio.ensure_future(activity.wait_for_worker_shutdown())
        try:
            ended = await supervisor.run(stopping)
        except turn_process.WorkerStopping as stop:
            raise ApplicationError(
                f"the worker stops, turn {self._request.round} of session {self._progress.session.id} is interrupted: "
                "the next attempt resumes it",
                type=WORKER_SHUTDOWN,
            ) from stop
        finally:
            stopping.cancel()
            fence.save()
        return self._backend.fold(ended.events, turn_process.exit_code_of(ended.status)), ended

    def _prompt(self) -> str:
        """Raises ConfigurationError when the request has neither a prompt nor a brief."""
        if self._request.prompt:
            return self._request.prompt
        if self._request.brief is None:
            raise errors.ConfigurationError(
                f"turn {self._request.round} of {self._request.run} has neither a prompt nor a brief: give one of them"
            )
        facts = self._request.brief.model_dump()
        head = self._host.library.front_matter("implement")
        return self._host.library.render("implement", {name: facts[name] for name in head.inputs if name in facts}).text

    async def _resume_prompt(self) -> str:
        facts = await turn_facts.read(self._host.confinement, self._room, self._worktree)
        return self._host.library.render(
            "resume",
            {
                "reason": "its worker was stopped or lost",
                "task": self._prompt(),
                "facts_known": facts.known,
                "last_commit": facts.last_commit,
                "uncommitted": facts.uncommitted,
            },
        ).text

    def _fail(self, verdict: port.Verdict, ended: turn_process.Ended) -> NoReturn:
        """Raise what the verdict means; the sentence is redacted here, where it is made."""
        how = f"exit code {ended.status.exit_code}" if ended.status.signal is None else f"signal {ended.status.signal}"
        words = (verdict.summary or ended.stderr).strip()[-600:] or "it said nothing"
        sentence = self._host.redactor.redact(
            f"{self._backend.name} ended turn {self._request.round} of {self._request.run} with {verdict.outcome} "
            f"{f'({verdict.reason}) ' if verdict.reason else ''}and {how}: {words}"
        )
        after = timedelta(seconds=verdict.retry_after_seconds) if verdict.retry_after_seconds is not None else None
        if verdict.outcome is agent.Outcome.API_ERROR and verdict.is_quota:
            raise errors.QuotaExhausted(f"{sentence}; wait for the provider's window", retry_after=after)
        if verdict.outcome is agent.Outcome.API_ERROR and verdict.is_credentials:
            raise errors.AgentUnavailable(f"{sentence}; log the agent in on this host, or correct its key")
        raise errors.AgentCrashed(f"{sentence}; the session is kept and can be resumed", retry_after=after)

    async def _beat_every(self, seconds: float) -> None:
        while True:
            self._beat()
            await asyncio.sleep(seconds)

    def _beat(self) -> None:
        with suppress(errors.FettleError, OSError):  # an unborn branch, or a HEAD the agent is just moving
            self._progress.last_commit = untrusted.head_sha(self._worktree)
        activity.heartbeat(self._progress.model_copy())


class _Cost:
    """Keeps a session's total, whether the CLI counts over resumes, or anew in each process."""

    def __init__(self, record: turn_fence.Record, *, fresh: bool) -> None:
        self._record = record
        self._before_process = record.cost or 0.0
        self._fresh = fresh

    def see(self, event: agent.Event) -> None:
        if event.cost_usd is not None:
            counts_all = event.cost_is_of_session and not self._fresh
            self._record.cost = event.cost_usd if counts_all else self._before_process + event.cost_usd


def _prior() -> agent.Progress | None:
    """The newest heartbeat of the attempts before this one; it comes back untyped, possibly from another version."""
    details = activity.info().heartbeat_details
    with suppress(ValidationError):
        return agent.Progress.model_validate(details[0]) if details else None
    return None


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None else max(0.0, now - (before or 0.0))
