"""Lease a slot of this agent host to a run, and give it back. A host admits here, so nothing queues behind it."""

import asyncio
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities import rooms, turn_fence, worktree
from activities.hooks import HookRunner  # the module's name is a field below
from domain import errors, host_report, refs, wire, work, workflow_policy
from domain.hooks import Call
from integrations.forge.port import Forge
from integrations.git import clones, mirror, names

_RETRY_AFTER: Final = timedelta(seconds=2)
_TRIES_ELSEWHERE: Final = 5
"""Claims that a host which does not suit turns away, so that another one can take the run; after them it is the only
one, unless another one says that it suits. The claim's own retries count them."""

_TIDY_SECONDS: Final = 30.0


class _Lease(BaseModel):
    model_config = ConfigDict(extra="ignore")

    backend: str = ""
    since: datetime | None = None
    claimed: str = ""
    """Different for every claim: a lease that was given again meanwhile is not pruned with the one before."""


class _Leases(BaseModel):
    """What `leases.json` holds: leases by the workflow id of their run."""

    model_config = ConfigDict(extra="ignore")

    leases: dict[str, _Lease] = {}


def host_id(state: Path) -> str:
    """The id of this host, made once and kept in its state directory: a host keeps its queue when it is restarted."""
    return _kept(state / "host-id", f"{refs.slug(socket.gethostname(), 40) or 'host'}-{secrets.token_hex(3)}")


def disk_id(state: Path) -> str:
    """Names the state directory itself, whatever the host is called."""
    return _kept(state / "disk-id", secrets.token_hex(8))


async def _nobody() -> Sequence[host_report.Report]:
    return ()


def _kept(place: Path, value: str) -> str:
    """The text of a small file, which holds `value` when it was not there before."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        fd, fresh = tempfile.mkstemp(prefix=f"{place.name}.", dir=place.parent)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(f"{value}\n")
            with suppress(FileExistsError):
                os.link(fresh, place)  # unlike a rename it does not replace what somebody else has just made
        finally:
            os.unlink(fresh)
    return place.read_text().strip()


@dataclass(frozen=True)
class HostActivities:
    """Admits runs to this host.

    Args:
        slots: Runs that may work on this host at once.
        backend_versions: Agent CLIs that were found on this host, with their versions.
        is_open: Whether a workflow id has an open execution; asked only when every slot is taken.
        name: The host's id; empty for the one that is kept in its state directory.
        forge: Where work in progress is removed when its run is over. None: it stays there.
        draining: Whether the worker is about to stop: then no further run is taken.
        hooks: Runs the repository's `before_remove`; None: it is not run.
        why_no_agents: Why this host starts none at all, such as a sandbox that does not hold; empty: it starts those
            of `backend_versions`.
        level: What confines agents here, a name of `sandbox.levels`.
        others: What the hosts of the installation say of themselves; asked when this one does not suit a run.
    """

    mirrors: mirror.Mirrors
    slots: int
    backend_versions: Mapping[str, str]
    is_open: Callable[[str], Awaitable[bool]]
    name: str = ""
    forge: Forge | None = None
    draining: Callable[[], bool] = lambda: False
    hooks: HookRunner | None = None
    why_no_agents: str = ""
    level: str = "none"
    others: Callable[[], Awaitable[Sequence[host_report.Report]]] = _nobody

    @activity.defn(name=wire.CLAIM_HOST)
    async def claim_host(self, request: work.ClaimHost) -> work.HostLease:
        """Lease a slot to the run. Running twice is safe: a run that holds a slot of this host gets the same one.

        Raises:
            HostFull: no slot is free, or another host should take the run; not before `retry_after`.
            AgentUnavailable: no host that was asked has the run's agent CLI.
        """
        own_id = self.name or await asyncio.to_thread(host_id, self.mirrors.state)
        if self.draining():
            raise errors.HostFull(
                f"{request.run} asked for a slot on {own_id}, which is about to stop: it asks again",
                retry_after=_RETRY_AFTER,
            )
        held = request.run in await asyncio.to_thread(self._read)
        if not held:
            await self._send_elsewhere(request, own_id)
        if not held and not await asyncio.to_thread(self._lease, request):
            await self._prune()
            if not await asyncio.to_thread(self._lease, request):
                raise errors.HostFull(
                    f"{request.run} asked for a slot on {own_id}, all {self.slots} are leased to open runs: "
                    "it asks again, more slots or another host end the wait",
                    retry_after=_RETRY_AFTER,
                )
        return work.HostLease(
            host_id=own_id, queue=refs.host_queue(own_id), backend_versions=dict(self.backend_versions)
        )

    @activity.defn(name=wire.RELEASE_HOST)
    async def release_host(self, request: work.ReleaseHost) -> None:
        """Give the run's slot back. Running twice is safe: what is already gone is no error."""
        if request.remove_worktree:
            await self._before_remove(request)
            await self._remove_worktree(request.run)
        await asyncio.to_thread(self._drop, {request.run: None})

    async def _before_remove(self, request: work.ReleaseHost) -> None:
        clone = clones.RunClone.of(self.mirrors.state, request.run)
        note = await asyncio.to_thread(clone.read_note)
        if self.hooks is not None and note is not None and request.hooks.before_remove:
            facts = Call(run=request.run, worktree=str(clone.path), hooks=request.hooks, branch=note.branch)
            await self.hooks.before_remove(facts)

    def leased(self) -> tuple[host_report.LeasedRun, ...]:
        """The runs that hold a slot; blocking."""
        return tuple(
            host_report.LeasedRun(run=run, backend=lease.backend, since=lease.since)
            for run, lease in self._read().items()
        )

    async def _suits_another(self, request: work.ClaimHost, own_id: str) -> bool:
        """Whether a host that lives could take the run when it has a slot: then the run waits, however long that one
        is full."""
        return any(
            other.host != own_id
            and other.could_take(request.backend, datetime.now(UTC))
            and workflow_policy.confined_enough(other.sandbox, request.least_sandbox)
            for other in await self.others()
        )

    async def _send_elsewhere(self, request: work.ClaimHost, own_id: str) -> None:
        suits = request.backend in self.backend_versions and workflow_policy.confined_enough(
            self.level, request.least_sandbox
        )
        early = activity.info().attempt <= _TRIES_ELSEWHERE or (
            not suits and await self._suits_another(request, own_id)
        )
        if request.backend not in self.backend_versions:
            found = ", ".join(sorted(self.backend_versions)) or "none"
            cure = f"install {request.backend} on a host, or choose another agent in the repository's policy"
            if self.why_no_agents:
                found, cure = f"none, because {self.why_no_agents}", "fettle doctor on that host tells what to do"
            if not early:
                raise errors.AgentUnavailable(
                    f"{request.run} needs the agent {request.backend}, {own_id} has {found}: {cure}"
                )
            raise errors.HostFull(
                f"{request.run} needs the agent {request.backend}, {own_id} has {found}: another host is asked",
                retry_after=_RETRY_AFTER,
            )
        if not workflow_policy.confined_enough(self.level, request.least_sandbox):
            less = f"{request.run} asks for at least the sandbox {request.least_sandbox}, {own_id} has {self.level}: "
            if not early:
                raise errors.AgentUnavailable(
                    f"{less}set up a host with it, or correct sandbox.level of the repository"
                )
            raise errors.HostFull(f"{less}another host is asked", retry_after=_RETRY_AFTER)
        if request.avoid_host == own_id and early:
            raise errors.HostFull(
                f"{request.run} was lost with {own_id} and asks for another host: "
                f"{own_id} takes it when no other one has after {_TRIES_ELSEWHERE} tries",
                retry_after=_RETRY_AFTER,
            )

    async def _prune(self) -> None:
        """Drop the leases of rounds that have ended: their release was lost with a worker. Asked outside of the lock;
        a lease that was given anew meanwhile has another mark and stays. A run that is still open keeps its files: its
        work may be another host's by now, or this one's again in its next round."""
        left = {
            run: lease
            for run, lease in (await asyncio.to_thread(self._read)).items()
            if not (await self._open(run) and await self._open(refs.round_id(run)))
        }
        for run in await asyncio.to_thread(self._drop, left):
            if not await self._open(run):
                await self._remove_worktree(run)

    async def _open(self, run: str) -> bool:
        try:
            return await self.is_open(run)
        except Exception as unknown:  # whatever the client raises: a lease is dropped on knowledge only
            activity.logger.warning("whether %s is open could not be found out: %s", run, unknown)
            return True

    async def _remove_worktree(self, run: str) -> None:
        clone = clones.RunClone.of(self.mirrors.state, run)
        room = rooms.Room.of(self.mirrors.state, run).root
        note = await asyncio.to_thread(clone.read_note)
        await turn_fence.sweep(clone.home, room)
        await asyncio.to_thread(clone.remove)
        await asyncio.to_thread(shutil.rmtree, room, ignore_errors=True)
        if note is not None:
            source = self.mirrors.of(note.repo)
            await self._remove_work_in_progress(source, run, note)
            for ref in (names.agent_ref(run), names.snapshot_ref(run)):
                await source.delete_ref(ref)

    async def _remove_work_in_progress(self, source: mirror.Mirror, run: str, note: clones.Note) -> None:
        """The ref on the forge, if this host moved it last; another host's is its own to remove."""
        if self.forge is None or not note.wip_sha:
            return
        try:
            async with asyncio.timeout(_TIDY_SECONDS):
                remote = await worktree.remote_of(self.forge, note.repo)
                await source.move(remote, mirror.Move(names.wip_ref(run), "", note.wip_sha))
        except (errors.FettleError, TimeoutError) as left:
            activity.logger.warning("the work in progress of %s stays on the forge: %s", run, left)

    def _lease(self, request: work.ClaimHost) -> bool:
        """Whether the run has a slot now."""
        with self._locked():
            leases = self._read()
            if request.run not in leases:
                if len(leases) >= self.slots:
                    return False
                self._write(
                    {
                        **leases,
                        request.run: _Lease(
                            backend=request.backend, since=datetime.now(UTC), claimed=secrets.token_hex(8)
                        ),
                    }
                )
            return True

    def _drop(self, runs: Mapping[str, _Lease | None]) -> list[str]:
        """Remove the leases of `runs`, those with a given lease only while it is that one. Returns what was removed."""
        with self._locked():
            leases = self._read()
            dropped = [run for run, lease in runs.items() if run in leases and (lease is None or lease == leases[run])]
            self._write({run: lease for run, lease in leases.items() if run not in dropped})
            return dropped

    def _read(self) -> dict[str, _Lease]:
        try:
            return _Leases.model_validate_json((self.mirrors.state / "leases.json").read_text()).leases
        except FileNotFoundError:
            return {}

    def _write(self, leases: dict[str, _Lease]) -> None:
        place = self.mirrors.state / "leases.json"
        fresh = place.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(_Leases(leases=leases).model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, place)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Held for a read and a write of a small file, never across an await."""
        with (self.mirrors.state / "leases.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
