"""The bare mirror of a repository: the only repository of the worker's own, fetched from the forge, pushed to it.

Everything that is known about commits is read here. An agent's clone borrows the mirror's objects, so nothing is ever
pruned from it while runs may live.
"""

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from domain import errors, refs
from integrations.git import names, packing, runner, untrusted

_HISTORICAL_FAULTS: Final = (
    "badTimezone",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "badDate",
    "zeroPaddedFilemode",
    "badFilemode",
    "zeroPaddedDate",
    "gitmodulesParse",
    "missingNameBeforeEmail",
    "badName",
    "badEmail",
)
"""Blemishes of old commits that many good repositories carry. They are accepted from the forge, never from an agent."""
_FORGE_FSCK: Final = tuple(f"fetch.fsck.{fault}=ignore" for fault in _HISTORICAL_FAULTS)
_CONFIG: Final = (("uploadpack.allowAnySHA1InWant", "true"), ("gc.auto", "0"))
_NO_REPOSITORY: Final = ("not found", "does not exist", "does not appear to be a git repository")
_LOCK_POLL_SECONDS: Final = 0.05
_LOCK_WAIT_SECONDS: Final = 900.0
"""Longer than a first clone of a large repository by another process of this host."""


@dataclass(frozen=True)
class Remote:
    """Where a repository is on the forge, and how to get in."""

    url: str
    credentials: runner.Credentials | None = None


@dataclass(frozen=True)
class Move:
    """A ref on the forge goes from the commit `expected` to `sha`; empty stands for a ref that does not exist."""

    ref: str
    sha: str
    expected: str


@dataclass(frozen=True)
class Mirror:
    """One repository's mirror on this host.

    Args:
        allow_file_remotes: Accept `file://` addresses of the forge.
    """

    repo: refs.Repository
    path: Path
    git: runner.Runner
    allow_file_remotes: bool = False
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)
    _packing: packing.Packing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_packing", packing.Packing(self.git, self.path))

    @property
    def place(self) -> runner.Place:
        return runner.Place(self.path)

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    async def fetch(self, remote: Remote, *, folders: tuple[str, ...] = (), timeout_seconds: float = 600) -> None:
        """Bring every branch up to date with the forge; branches that are gone there go here. Creates the mirror.

        Args:
            folders: Further name spaces, each `refs/…/`, that are brought up to date in the same way.

        Raises:
            GitFailed: git could not, for a reason that may pass.
            BadCredentials: the forge refused the token.
            NotFound: the forge has no such repository, or hides it.
        """
        transport = names.protocol(remote.url, allow_file=self.allow_file_remotes)
        async with self._locked():
            await self._create()
            await asyncio.to_thread(self._packing.sweep)
            await self._remote_call(
                *("fetch", "--prune", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
                *("--quiet", "--end-of-options", remote.url, "+refs/heads/*:refs/heads/*"),
                *(f"+{folder}*:{folder}*" for folder in folders),
                remote=remote,
                transport=transport,
                config=_FORGE_FSCK,
                timeout_seconds=timeout_seconds,
            )
            await self._packing.tidy()

    async def branch(self, name: str) -> str:
        """Tip of a branch as of the last fetch; empty when the forge has none of that name."""
        return await self.resolve(names.branch_ref(name))

    async def resolve(self, ref: str) -> str:
        """The commit a full ref or commit id names; empty when there is none."""
        found = await self.git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", at=self.place, check=False
        )
        # `rev-parse` echoes the marker in some versions
        sha = found.text.rsplit("\n", 1)[-1]
        return sha if found.code == 0 and names.SHA.match(sha) else ""

    async def merge_base(self, one: str, other: str) -> str:
        """The newest commit that both have; empty when their histories have nothing in common."""
        found = await self.git.run("merge-base", "--end-of-options", one, other, at=self.place, check=False)
        if found.code > 1:
            raise runner.failed("merge-base", found)
        return found.text

    async def set_ref(self, ref: str, sha: str) -> None:
        await self.git.run("update-ref", "--no-deref", ref, sha, at=self.place)

    async def delete_ref(self, ref: str) -> None:
        """Remove a ref; one that is not there is no error."""
        await self.git.run("update-ref", "--no-deref", "-d", ref, at=self.place)

    async def remote_branch(self, remote: Remote, name: str) -> str:
        """Tip of a branch on the forge now; empty when it does not exist."""
        ref = names.branch_ref(name)
        return (await self.remote_refs(remote, ref)).get(ref, "")

    async def remote_refs(self, remote: Remote, *wanted: str) -> dict[str, str]:
        """Those of the `wanted` refs, full names, that the forge has now, with their commits."""
        listed = await self._remote_call(
            *("ls-remote", "--quiet", "--end-of-options", remote.url, *wanted),
            remote=remote,
            transport=names.protocol(remote.url, allow_file=self.allow_file_remotes),
        )
        lines = (line.partition("\t") for line in listed.text.splitlines())
        return {name: sha for sha, _, name in lines if name in wanted and names.SHA.match(sha)}

    async def push(self, remote: Remote, *, branch: str, sha: str, expected: str) -> None:
        """Move `branch` on the forge from `expected` (empty: it must not exist) to `sha`; see `move`."""
        await self.move(remote, Move(names.branch_ref(branch), sha, expected))

    async def move(self, remote: Remote, *moves: Move) -> None:
        """Move all of these refs on the forge, or none.

        Refs that are where they shall be already were moved by an earlier attempt, and count as done.

        Raises:
            RefMoved: a ref is at a third commit.
            GitFailed: git could not, for a reason that may pass.
        """
        leases = (f"--force-with-lease={move.ref}:{move.expected}" for move in moves)
        try:
            await self._remote_call(
                *("push", "--atomic", "--porcelain", "--quiet", "--no-verify", *leases),
                *("--end-of-options", remote.url, *(f"{move.sha}:{move.ref}" for move in moves)),
                remote=remote,
                transport=names.protocol(remote.url, allow_file=self.allow_file_remotes),
            )
        except errors.GitFailed as failure:
            found = await self.remote_refs(remote, *(move.ref for move in moves))
            for move in moves:
                if found.get(move.ref, "") not in {move.sha, move.expected}:
                    raise self._moved(move, found.get(move.ref, "")) from failure
            if any(found.get(move.ref, "") != move.sha for move in moves):
                raise
        async with self._locked():
            for move in moves:
                await (self.set_ref(move.ref, move.sha) if move.sha else self.delete_ref(move.ref))

    def _moved(self, move: Move, found: str) -> errors.RefMoved:
        name = move.ref.removeprefix("refs/heads/")
        return errors.RefMoved(
            f"{name} of {self.repo} was expected at {move.expected or 'no commit (a new branch)'}, "
            f"the forge has {found or 'no such branch'}: nothing was pushed; look at the commits of the "
            "branch on the forge, then retry the run"
        )

    async def import_commits(self, clone: Path, run: str, limits: untrusted.ObjectLimits) -> str:
        """Take the commit at HEAD of an agent's clone, and all it needs, into the mirror.

        The objects are copied into a repository of ours and fetched from there, so git reads nothing in the clone.

        Returns:
            The commit; `names.agent_ref(run)` points at it.

        Raises:
            UnsafeWork: the clone is not laid out as it was made, or its objects are broken, missing or too many.
        """
        sha = await asyncio.to_thread(untrusted.head_sha, clone)
        with self.git.folder("import") as folder:
            quarantine = runner.Place(folder)
            await self.git.run("init", "--bare", "--quiet", "--template=", "--end-of-options", str(folder))
            (quarantine.git_dir / "objects" / "info" / "alternates").write_text(f"{self.objects}\n")
            packs = await asyncio.to_thread(untrusted.copy_objects, clone, quarantine.git_dir / "objects", limits)
            steps = [("index-pack", "--strict", str(pack)) for pack in packs]
            steps.append(("update-ref", "refs/heads/import", sha))
            for step in steps:
                await self._take_over(sha, *step, at=quarantine)
            await self._take_over(
                sha,
                *("fetch", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--quiet"),
                *("--end-of-options", str(folder), f"+refs/heads/import:{names.agent_ref(run)}"),
                at=self.place,
            )
        return sha

    async def _take_over(self, sha: str, *args: str, at: runner.Place) -> None:
        """One step of an import: everything it reads is the agent's or ours, so a refusal is about the work."""
        result = await self.git.run(*args, at=at, protocols=("file",), check=False)
        if result.code == 0:
            return
        if "No space left" in result.stderr:
            raise runner.failed(args[0], result)
        raise errors.UnsafeWork(
            f"commit {names.short(sha)} was made for {self.repo}, git {args[0]} does not accept it ({result.stderr}): "
            "start the run afresh, its repository is damaged"
        )

    async def _create(self) -> None:
        """Make an empty mirror; beside its place first, so that a worker that dies leaves no half of one."""
        if (self.path / "HEAD").exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.path.parent) as folder:
            fresh = Path(folder, "mirror.git")
            await self.git.run("init", "--bare", "--quiet", "--template=", "--end-of-options", str(fresh))
            for key, value in _CONFIG:
                await self.git.run("config", "--local", key, value, at=runner.Place(fresh))
            os.replace(fresh, self.path)

    async def _remote_call(
        self,
        *args: str,
        remote: Remote,
        transport: str,
        config: tuple[str, ...] = (),
        timeout_seconds: float | None = None,
    ) -> runner.Result:
        result = await self.git.run(
            *args,
            at=self.place,
            protocols=(transport,),
            credentials=remote.credentials,
            config=config,
            timeout_seconds=timeout_seconds,
            check=False,
        )
        if result.code == 0:
            return result
        said = result.stderr.casefold()
        if "authentication failed" in said or "could not read username" in said or "could not read password" in said:
            raise errors.BadCredentials(
                f"git {args[0]} of {self.repo} was refused, the forge says: {result.stderr}; "
                "check the token in the settings and its access to the repository"
            )
        if "repository" in said and any(words in said for words in _NO_REPOSITORY):
            raise errors.NotFound(
                f"git {args[0]} of {self.repo} found no repository, the forge says: {result.stderr}; "
                "check the name, and that the token may see the repository"
            )
        raise runner.failed(args[0], result)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Only one task of this host at a time: the asyncio lock orders this process, the file lock the others."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        async with self._turn:
            fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                await self._flock(fd)
                yield
            finally:
                os.close(fd)  # gives the lock back

    async def _flock(self, fd: int) -> None:
        for _ in range(int(_LOCK_WAIT_SECONDS / _LOCK_POLL_SECONDS)):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_SECONDS)
        raise errors.GitFailed(
            f"the mirror of {self.repo} has been locked by another process for {_LOCK_WAIT_SECONDS:g} s; "
            "the same step is tried again, end the process that holds the lock when that does not help"
        )


@dataclass(frozen=True)
class Mirrors:
    """Every mirror of this host, one object a repository, so that their locks are shared.

    Args:
        state: The host's state directory.
    """

    state: Path
    git: runner.Runner
    allow_file_remotes: bool = False
    _known: dict[refs.Repository, Mirror] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def under(
        cls, state: Path, *, environment: Mapping[str, str] | None = None, allow_file_remotes: bool = False
    ) -> "Mirrors":
        """Mirrors in `<state>/mirrors`, with git's own scratch in `<state>/git`; `environment` is the runner's."""
        state = state.absolute()  # git is started elsewhere
        scratch = state / "git"
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        git = runner.Runner(scratch, environment or {})
        git.sweep()
        return cls(state, git, allow_file_remotes)

    def of(self, repo: refs.Repository) -> Mirror:
        """The mirror of a repository, whether it was fetched before or not.

        Raises:
            ValueError: a part of the name could be read as a path.
        """
        refs.Repository.parse(str(repo))
        return self._known.setdefault(repo, Mirror(repo, place(self.state, repo), self.git, self.allow_file_remotes))


def place(state: Path, repo: refs.Repository) -> Path:
    """Where a repository's mirror is, below a host's state directory."""
    return state / "mirrors" / repo.owner / f"{repo.name}.git"
