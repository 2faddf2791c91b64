"""The repository's scripts around its agents, run where the agents run: in the sandbox, with the agent's environment.

`after_create` and `before_run` raise when they fail; `after_run` and `before_remove` never do. Every run of a script
leaves its output as an artifact, and no process of it outlives its time-out, or a cancellation.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio import activity

from activities import artifact_store, egress, rooms
from domain import errors, hooks, redaction
from integrations.agent import port
from integrations.git import clones
from sandbox import process

_log = structlog.stdlib.get_logger(__name__)

_BOTH_OUTPUTS: Final = 'exec bash -c "$1" 2>&1'
_MOST_BYTES: Final = 1024 * 1024
_TAIL: Final = 600
_GRACE_SECONDS: Final = 2.0
_HURRIED_SECONDS: Final = 3.0
"""What `after_run` gets when the turn was cancelled or its worker stops: both are to be over within seconds."""


class _Done(BaseModel):
    """That `after_create` has done its work, kept beside the worktree, where no agent can write, and gone with it.
    A directory that somebody else put in its place is another one, and a changed script is another script."""

    model_config = ConfigDict(extra="ignore")

    inode: int
    script_sha256: str


@dataclass(frozen=True)
class HookRunner:
    """Runs hooks on this host. `way_out` None: they reach what the level leaves open."""

    confinement: rooms.Confinement
    artifacts: artifact_store.ArtifactStore
    redactor: redaction.Redactor
    state_dir: Path
    way_out: egress.Egress | None = None

    async def after_create(self, call: hooks.Call) -> hooks.Result:
        """Once for each worktree. To be called whenever a worktree was prepared, made or found: when the hook failed,
        or its worker died before it was over, the next call runs it again, in the same worktree.

        Raises:
            HookFailed: the script failed; the worktree stays as it is.
            AgentUnavailable: the sandbox could not start it.
        """
        script = call.hooks.script(hooks.Event.AFTER_CREATE)
        worktree = rooms.contained(self.state_dir, call.worktree)
        done = _Done(inode=worktree.stat().st_ino, script_sha256=hashlib.sha256(script.encode()).hexdigest())
        note = clones.RunClone(worktree.parent).created_note
        if not script.strip() or _read(note) == done:
            return hooks.Result()
        result = await self._run(hooks.Event.AFTER_CREATE, call)
        fresh = note.with_suffix(".new")
        fresh.write_text(done.model_dump_json())
        fresh.replace(note)
        return result

    @asynccontextmanager
    async def around_turn(self, call: hooks.Call) -> AsyncIterator[None]:
        """`before_run`, the turn in the body, `after_run` however the body ends: by a return, an error or a cancel.

        Raises:
            HookFailed: `before_run` failed; the body does not run, and neither does `after_run`.
            AgentUnavailable: the sandbox could not start it.
        """
        await self._run(hooks.Event.BEFORE_RUN, call)
        try:
            yield
        except asyncio.CancelledError:
            await process.uncancelled(self._tolerated(hooks.Event.AFTER_RUN, call, _HURRIED_SECONDS))
            raise
        except BaseException:
            stopping = activity.in_activity() and activity.is_worker_shutdown()
            await self._tolerated(hooks.Event.AFTER_RUN, call, _HURRIED_SECONDS if stopping else None)
            raise
        else:
            await self._tolerated(hooks.Event.AFTER_RUN, call)

    async def before_remove(self, call: hooks.Call) -> hooks.Result:
        """Before a worktree is removed; one that is not there any more is no error."""
        return await self._tolerated(hooks.Event.BEFORE_REMOVE, call)

    async def _tolerated(self, event: hooks.Event, call: hooks.Call, most: float | None = None) -> hooks.Result:
        try:
            return await self._run(event, call, most)
        except (errors.FettleError, OSError) as failure:
            _log.warning("hook.failed", run=call.run, hook=event.value, problem=str(failure))
            return hooks.Result(ran=True, ok=False, sentence=str(failure))

    async def _run(self, event: hooks.Event, call: hooks.Call, most: float | None = None) -> hooks.Result:
        script = call.hooks.script(event)
        if not script.strip():
            return hooks.Result()
        worktree = rooms.contained(self.state_dir, call.worktree)
        room = rooms.Room.of(self.state_dir, call.run)
        room.prepare()
        seconds = min(call.hooks.timeout_seconds, most or call.hooks.timeout_seconds)
        name = f"hook-{event.value}-{call.round}" if call.round else f"hook-{event.value}"
        command = port.Command(("bash", "-c", _BOTH_OUTPUTS, event.value, script), env=call.environment(event))
        async with self._way_out(call, name, room) as way:
            spec = self.confinement.spec(
                way.of_command(command) if way else command,
                room,
                worktree,
                (),
                grace_seconds=_GRACE_SECONDS,
                network=way.socket if way else None,
                image=call.image,
            )
            done = await process.capture(spec, seconds=seconds, most=_MOST_BYTES)
        output = self.redactor.redact((done.stdout + done.stderr).decode("utf-8", "replace"))
        code, how = _ending(done, seconds)
        key = artifact_store.run_key(call.run, f"{name}.log")
        kept = await self.artifacts.put(key, output.encode(), f"{event.value} {how}")
        if code == 0:
            return hooks.Result(ran=True)
        raise errors.HookFailed(
            f"the hook {event.value} of {call.issue or call.run} {how}, its output is {kept.key} and ends with: "
            f"{output.strip()[-_TAIL:] or 'nothing'}; correct the script in WORKFLOW.md, or what it needs",
            event=event.value,
            exit_code=code,
        )

    @asynccontextmanager
    async def _way_out(self, call: hooks.Call, name: str, room: rooms.Room) -> AsyncIterator[egress.Way | None]:
        if self.way_out is None:
            yield None
            return
        isolated = self.confinement.level.own_network
        async with self.way_out.opened(call.run, name, room.root, isolated=isolated, wished=call.egress) as way:
            yield way


def _ending(done: process.Completed, seconds: float) -> tuple[int | None, str]:
    """The exit code, None when it did not get to one; and the end in words."""
    if done.timed_out:
        return None, f"took longer than {seconds:g} s and was ended"
    if done.status.signal is not None:
        return None, f"was ended by signal {done.status.signal}"
    return done.status.exit_code, f"ended with exit code {done.status.exit_code}"


def _read(note: Path) -> _Done | None:
    with suppress(OSError, ValidationError):
        return _Done.model_validate_json(note.read_text())
    return None
