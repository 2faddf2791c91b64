"""One attempt at a turn. What a later attempt needs, on this host or another, is kept before it is needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import (
    artifact_store,
    rooms,
    turn_checkpoint,
    turn_endings,
    turn_facts,
    turn_fence,
    turn_host,
    turn_keeping,
    turn_meter,
    turn_process,
    turn_prompts,
)
from domain import agent, artifacts, code_graph, errors
from domain.brief import Brief, bounded
from domain.hooks import Call
from integrations.agent import port
from integrations.git import clones, untrusted
from sandbox import process

_log = structlog.stdlib.get_logger(__name__)

WORKER_SHUTDOWN: Final = "WorkerShutdown"
"""The type that Temporal itself gives to an attempt that a stopping worker gave up; the next attempt resumes."""
_SUMMARY_LIMIT: Final = 4000
_CALL_LIMIT: Final = 160


class Attempt:
    """Made by the activity once it knows the backend and the session."""

    def __init__(
        self,
        host: turn_host.Host,
        backend: port.AgentBackend,
        found: port.Discovery,
        request: agent.TurnRequest,
        worktree: Path,
        progress: agent.Progress,
        elsewhere: turn_checkpoint.Note | None,
    ) -> None:
        self._host = host
        self._backend = backend
        self._found = found
        self._request = request
        self._worktree = worktree
        self._progress = progress.model_copy(update={"tool": ""})
        self._elsewhere = elsewhere
        self._room = rooms.Room.of(host.state_dir, request.run)
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._resumed_after_loss = False
        self._moved = False
        self._unfinished = (progress.tool,) if progress.tool else ()
        since = activity.info().scheduled_time
        keeper = (
            turn_checkpoint.Keeper(host.checkpoints, backend, request, self._room.home, worktree, since)
            if host.checkpoints
            else None
        )
        self._keeping = turn_keeping.Keeping(keeper, self._progress, host.checkpoint_seconds, self._beat)

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
        self._room.prepare()
        self._backend.prepare(self._room.home)
        interrupted = await self._begin(fence)
        resume = self._backend.transcript(self._room.home, self._progress.session) is not None
        run, turn = self._request.run, self._request.round
        await self._host.artifacts.put(
            artifact_store.writer_key(run, turn), self._backend.name.encode(), "who wrote it"
        )
        log = self._host.artifacts.append_to(artifact_store.turn_key(run, turn))
        try:
            async with self._keeping.going_on(), self._hooks():
                verdict, ended = await self._played(fence, log, resume=resume, interrupted=interrupted)
        finally:
            transcript = await process.uncancelled(log.close(f"{self._backend.name}, turn {self._request.round}"))
            self._progress.log_offset = transcript.size
        self._progress.tool = ""
        fence.record.finished = verdict.outcome in turn_endings.RETURNED
        fence.save()
        await self._keeping.keep(finished=fence.record.finished)
        if not fence.record.finished:
            raise turn_endings.error(self._backend.name, self._request, verdict, ended, self._host.redactor)
        return self._result(fence.record, verdict, transcript)

    async def _begin(self, fence: turn_fence.Fence) -> bool:
        """Take up what was left, here or on another host. Returns whether a turn was left in its middle."""
        info = activity.info()
        fresh_here = fence.is_new or fence.record.round < (self._elsewhere.turn if self._elsewhere else 0)
        interrupted = fence.begin_round(self._request.round, f"{info.activity_id}/{info.attempt}")
        interrupted = interrupted or self._progress.launched
        if removed := await asyncio.to_thread(clones.remove_left_locks, self._worktree):
            _log.info("git was killed in the middle: its locks are removed", run=self._request.run, locks=removed)
        session = self._progress.session = self._as_named_here(fence.record, self._progress.session)
        note = self._elsewhere if fresh_here and not self._progress.launched else None
        missing = self._backend.transcript(self._room.home, session) is None
        kept = note.progress.session if note else session
        if self._host.checkpoints is not None and (note is not None or (missing and kept.archive is not None)):
            self._moved = await self._host.checkpoints.restore(self._request.run, kept, self._room.home, self._worktree)
        if note is not None:
            fence.adopt(note.progress)
            fence.record.cost_before_round, fence.record.usage_before_round = fence.record.cost, fence.record.usage
            self._progress.cost_usd, self._progress.usage = note.progress.cost_usd, note.progress.usage
            self._unfinished = (note.progress.tool,) if note.progress.tool and not note.finished else ()
            interrupted = interrupted or not note.finished
        if missing and not self._moved and not self._backend.new_session().id:
            # This CLI names its conversations itself: the first line of the new one will say how.
            self._progress.session = session.model_copy(update={"id": ""})
            fence.begin_anew()
        return interrupted

    def _as_named_here(self, record: turn_fence.Record, asked: agent.Session) -> agent.Session:
        """The conversation by the CLI's own name, which a turn that did not end well had no result to tell in."""
        named = asked.model_copy(update={"id": record.known_as or asked.id})
        known = self._backend.transcript(self._room.home, asked) is not None
        return asked if known or self._backend.transcript(self._room.home, named) is None else named

    async def _played(
        self, fence: turn_fence.Fence, log: artifact_store.ArtifactStream, *, resume: bool, interrupted: bool
    ) -> tuple[port.Verdict, turn_process.Ended]:
        """The turn's process, and a second one where the CLI's knowledge of the session differs from ours."""
        verdict, ended = await self._run(fence, log, resume=resume, interrupted=interrupted)
        corrected = self._backend.corrected_resume(ended.events, ended.stderr, resume=resume)
        if not resume and corrected:
            return await self._run(fence, log, resume=True, interrupted=True)
        if resume and corrected is False:
            fresh = {"id": self._backend.new_session().id, "archive": None}
            self._progress.session = self._progress.session.model_copy(update=fresh)
            fence.begin_anew()
            return await self._run(fence, log, resume=False, interrupted=True)
        return verdict, ended

    async def _run(
        self, fence: turn_fence.Fence, log: artifact_store.ArtifactStream, *, resume: bool, interrupted: bool
    ) -> tuple[port.Verdict, turn_process.Ended]:
        """One process of the session. `interrupted`: this turn had begun before, in a process that was lost."""
        fence.also_known_as(self._progress.session)
        words = await self._words(resume=resume, interrupted=interrupted)
        update = {"session": self._progress.session, "resume": resume, "prompt": words}
        request = self._request.model_copy(update=update)
        bounds = self._request.limits
        meter = turn_meter.Meter(fence.record, fresh=not resume)
        async with AsyncExitStack() as stack:
            spec = await self._spec(stack, request)

            def started(running: process.ConfinedProcess) -> None:
                fence.launched(running.launcher, running.program)
                self._progress.launched = True
                self._beat()

            def happened(event: agent.Event) -> None:
                if event.session_id and not self._progress.session.id:
                    self._progress.session = self._progress.session.model_copy(update={"id": event.session_id})
                    fence.also_known_as(self._progress.session)
                meter.see(event)
                self._noted(fence.record, supervisor.calls, log.offset)
                self._keeping.saw(event)
                if event.kind is not agent.EventKind.OTHER:
                    self._beat()

            supervisor = turn_process.Supervisor(
                spec, self._backend, bounds, log=log, on_start=started, on_event=happened
            )
            ended = await self._until_stopped(supervisor, fence)
        verdict = self._backend.fold(ended.events, turn_process.exit_code_of(ended.status), request)
        meter.see(verdict)
        return verdict, ended

    async def _spec(self, stack: AsyncExitStack, request: agent.TurnRequest) -> process.Spec:
        passed, way = self._backend.pass_environment, None
        if self._host.way_out is not None:
            way = await stack.enter_async_context(
                self._host.way_out.opened(
                    request.run,
                    f"turn-{request.round}",
                    self._room.root,
                    isolated=self._host.confinement.level.own_network,
                    backend=self._backend,
                    wished=request.egress,
                )
            )
            passed = way.passed(passed)
        command = self._backend.command(request, self._room.home, self._found, way.access if way else None)
        if way is not None:
            command = way.of_command(command)
        return self._host.confinement.spec(
            command,
            self._room,
            self._worktree,
            passed,
            request.limits.stop_grace_seconds,
            network=way.socket if way else None,
            image=request.image,
        )

    async def _until_stopped(self, supervisor: turn_process.Supervisor, fence: turn_fence.Fence) -> turn_process.Ended:
        """The end of the process. An end that is not its own is kept as well: the turn goes on from there."""
        stopping = asyncio.ensure_future(self._drained())
        try:
            return await supervisor.run(stopping, self._keeping.lost)
        except turn_process.WorkerStopping as stop:
            await process.uncancelled(self._keeping.keep(seconds=turn_keeping.AT_STOP_SECONDS))
            raise ApplicationError(
                f"the worker stops, turn {self._request.round} of session {self._progress.session.id} is interrupted: "
                "the next attempt resumes it",
                type=WORKER_SHUTDOWN,
            ) from stop
        except (errors.AgentStalled, errors.AgentTimedOut):
            await process.uncancelled(self._keeping.keep())
            raise
        except asyncio.CancelledError:
            if turn_endings.goes_on(activity.cancellation_details()):
                await process.uncancelled(self._keeping.keep(seconds=turn_keeping.AT_STOP_SECONDS))
            raise
        finally:
            stopping.cancel()
            fence.save()

    async def _drained(self) -> None:
        await activity.wait_for_worker_shutdown()
        await asyncio.sleep(self._host.drain_seconds)

    async def _words(self, *, resume: bool, interrupted: bool) -> str:
        """What the process is told. A conversation that goes on in the middle of its turn, and a new one about work
        that has begun, are told what is true."""
        continued = resume and (interrupted or not self._request.resume)
        self._resumed_after_loss = self._resumed_after_loss or continued
        if not continued and (resume or not (interrupted or self._request.resume)):
            return self._host.words.task(self._request, resume=resume, code=None if resume else await self._code())
        facts = await turn_facts.read(self._host.confinement, self._room, self._worktree)
        if continued:
            lost = turn_prompts.Interruption(facts, self._unfinished, self._moved)
            return self._host.words.resumed(self._request, lost)
        calls = await turn_facts.last_calls(self._host.artifacts, self._backend, self._request)
        return self._host.words.restarted(self._request, turn_prompts.Interruption(facts, calls), await self._code())

    async def _code(self) -> code_graph.Map | None:
        """Where to look, for a conversation that begins. None: the turn's words have no place for it."""
        graph, brief = self._host.graph, self._request.brief
        if graph is None or brief is None or self._request.prompt:
            return None
        note = clones.RunClone.of(self._host.state_dir, self._request.run).read_note()
        if note is None:
            return code_graph.Map(missing="this host has no copy of the repository")
        return await graph.map_of(note.repo, brief.base_tip_sha, f"{brief.title}\n\n{brief.body}")

    def _hooks(self) -> AbstractAsyncContextManager[None]:
        if self._host.hooks is None:
            return nullcontext()
        asked, brief = self._request, self._request.brief or Brief()
        facts = Call(run=asked.run, worktree=asked.worktree, hooks=asked.hooks, round=asked.round, issue=brief.issue)
        more = {"branch": brief.branch, "base_branch": brief.base_branch}
        return self._host.hooks.around_turn(facts.model_copy(update=more))

    def _result(
        self, record: turn_fence.Record, verdict: port.Verdict, transcript: artifacts.ArtifactRef
    ) -> agent.TurnResult:
        redact = self._host.redactor.redact
        return agent.TurnResult(
            outcome=verdict.outcome,
            session=self._progress.session,
            summary=redact(verdict.summary)[:_SUMMARY_LIMIT],
            denials=tuple(redact(denial) for denial in verdict.denials),
            cost_usd=record.cost,
            turn_cost_usd=turn_meter.cost_between(record.cost_before_round, record.cost),
            seconds=round(self._clock() - self._began, 3),
            transcript=transcript,
            question=self._asked(verdict.question),
            structured=verdict.structured,
            capability=self._found.capability,
            usage=turn_meter.usage_between(record.usage_before_round, record.usage),
            wip_sha=self._keeping.kept.sha,
            wip_note=redact(self._keeping.kept.why_not),
            resumed_after_loss=self._resumed_after_loss,
        )

    def _asked(self, question: agent.Question | None) -> agent.Question | None:
        if question is None:
            return None
        text = bounded(self._host.redactor.redact(question.text), agent.LONGEST_QUESTION)
        return question.model_copy(update={"text": text})

    def _noted(self, record: turn_fence.Record, calls: tuple[str, ...], offset: int) -> None:
        self._progress.cost_usd, self._progress.usage = record.cost, record.usage
        self._progress.log_offset = offset
        self._progress.tool = self._host.redactor.redact(", ".join(calls))[:_CALL_LIMIT]

    async def _beat_every(self, seconds: float) -> None:
        while True:
            self._beat()
            await asyncio.sleep(seconds)

    def _beat(self) -> None:
        with suppress(errors.FettleError, OSError):  # an unborn branch, or a HEAD the agent is just moving
            self._progress.last_commit = untrusted.head_sha(self._worktree)
        activity.heartbeat(self._progress.model_copy())
