"""Verify a commit: run the repository's own command on a clean checkout, confined as an agent is."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from temporalio import activity

from activities import artifact_store, egress, heartbeats, worktree
from activities.code_graph import CodeGraph
from domain import code_graph, errors, refs, safety, wire, work
from integrations.forge.port import Forge
from integrations.git import clones, mirror, names
from sandbox import environment, limits, process
from sandbox import spec as spec_

_TAIL_CHARACTERS: Final = 3000
_MOST_LOG_BYTES: Final = 8 * 1024 * 1024
_MOST_TESTS: Final = 20
_ONE_OUTPUT: Final = 'exec bash -c "$1" 2>&1'
"""Both outputs in one, in the order they were printed."""


@dataclass(frozen=True)
class _Checkout:
    attempt: Path

    @property
    def files(self) -> Path:
        return self.attempt / "repo"

    @property
    def home(self) -> Path:
        return self.attempt / "home"

    @property
    def tmp(self) -> Path:
        return self.attempt / "tmp"


@dataclass(frozen=True)
class VerificationActivities:
    """Verifies on this host.

    Args:
        level: What confines the command: it comes with the commit, so it is no better known than the agent.
        way_out: What it may reach, such as package registries. None: what the level leaves open.
        pass_environment: Names of the worker's environment that the command gets beside PATH and LANG.
        graph: Knows which tests a change bears on. None: the command is told of none.
    """

    forge: Forge
    mirrors: mirror.Mirrors
    store: artifact_store.ArtifactStore
    redactor: safety.Redactor
    level: spec_.Level
    way_out: egress.Egress | None = None
    identity: clones.Identity = field(default_factory=clones.Identity)
    rlimits: limits.ProcessLimits = field(default_factory=limits.ProcessLimits)
    pass_environment: tuple[str, ...] = ()
    graph: CodeGraph | None = None

    @activity.defn(name=wire.VERIFY_COMMIT)
    async def verify_commit(self, request: work.VerifyCommit) -> work.Verification:
        """Check the commit out and run the command. Running twice is safe: each attempt has a checkout of its own,
        made from the mirror and removed with all its processes.

        Raises:
            GitFailed: the commit could not be checked out.
            AgentUnavailable: the sandbox does not work on this host.
        """
        async with heartbeats.beating():
            source = self.mirrors.of(request.repo)
            await self._have(source, request.repo, request.sha)
            first = await self._tests_first(request)
            async with self._checkout(source, request) as checkout, AsyncExitStack() as stack:
                spec = await self._spec(stack, request, checkout, first)
                began = time.monotonic()
                done = await process.capture(spec, seconds=request.timeout_seconds, most=_MOST_LOG_BYTES)
                seconds = time.monotonic() - began
        said = done.stdout + _ending(done)
        output = self.redactor.redact(said.decode("utf-8", "replace"))
        code = done.status.exit_code
        passed = code == 0 and not done.timed_out
        how = "passed" if passed else f"timed out after {seconds:.0f} s" if done.timed_out else f"exit code {code}"
        key = artifact_store.run_key(request.run, f"verify-{request.sha}.log")
        named = f", told to run first: {', '.join(first)}" if first else ""
        log = await self.store.put(key, output.encode(), f"verification {how}{named}")
        return work.Verification(
            passed=passed,
            exit_code=code,
            timed_out=done.timed_out,
            tail=output[-_TAIL_CHARACTERS:],
            seconds=seconds,
            log=log,
            tests_first=first,
        )

    async def _tests_first(self, request: work.VerifyCommit) -> tuple[str, ...]:
        if self.graph is None or not request.base_sha:
            return ()
        found = await self.graph.radius(request.repo, request.base_sha, request.sha)
        return code_graph.first_tests(found, _MOST_TESTS)

    async def _spec(
        self, stack: AsyncExitStack, request: work.VerifyCommit, checkout: _Checkout, first: tuple[str, ...]
    ) -> process.Spec:
        way = None
        if self.way_out is not None:
            opened = self.way_out.opened(
                request.run, f"verify-{names.short(request.sha)}", checkout.attempt, isolated=self.level.own_network
            )
            way = await stack.enter_async_context(opened)
        # The interpreter that runs the worker comes first, so that `python3` means the same on every host.
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH') or environment.DEFAULT_PATH}"
        env = environment.build(
            home=checkout.home,
            tmp=checkout.tmp,
            host={**os.environ, "PATH": path},
            passed=way.passed(self.pass_environment) if way else self.pass_environment,
            fixed={"CI": "true", **(way.variables if way else {})},
        )
        return process.Spec(
            argv=("bash", "-c", _ONE_OUTPUT, "verify", request.command),
            env={**env, work.TESTS_FIRST: " ".join(first)},  # ours, where nothing of the worker's environment is let in
            cwd=checkout.files,
            rlimits=self.rlimits,
            level=self.level,
            places=spec_.Places(home=checkout.home, tmp=checkout.tmp, work=checkout.files),
            network=way.socket if way else None,
        )

    async def _have(self, source: mirror.Mirror, repo: refs.Repository, sha: str) -> None:
        if names.SHA.match(sha) and not await source.resolve(sha):
            await source.fetch(await worktree.remote_of(self.forge, repo))
        if not names.SHA.match(sha) or not await source.resolve(sha):
            raise errors.NotFound(
                f"commit {sha!r} was to be verified, {repo} has no such commit here or on a branch of the forge: "
                "push it, or start the run again"
            )

    @asynccontextmanager
    async def _checkout(self, source: mirror.Mirror, request: work.VerifyCommit) -> AsyncIterator[_Checkout]:
        """The commit's files with a repository of its own that holds this one commit: what runs there is not told
        where the mirror is."""
        folder = self.mirrors.state / "verify" / names.run_slug(request.run)
        await asyncio.to_thread(clones.remove_tree, folder)  # left by an attempt whose worker was killed
        folder.mkdir(mode=0o700, parents=True)
        try:
            attempt = Path(tempfile.mkdtemp(dir=folder))
            checkout = _Checkout(attempt)
            for each in (checkout.files, checkout.home, checkout.tmp):
                each.mkdir()
            await clones.check_out_alone(source, checkout.files, request.sha, self.identity)
            yield checkout
        finally:
            await process.uncancelled(asyncio.to_thread(clones.remove_tree, folder))


def _ending(done: process.Completed) -> bytes:
    """Why it was ended, when a limit did it, and what the sandbox itself complained about: the command's own error
    output is in its output."""
    complaint = done.stderr.strip()
    return b"\n" + complaint[-_TAIL_CHARACTERS:] + b"\n" if complaint else b""
