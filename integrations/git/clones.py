"""The clones that agents work in: built by us in a fresh place, moved to the run's own, never entered by git again.

A clone borrows the mirror's objects (alternates) and has its own configuration: an identity, no remote, no credentials.
It is a cache. What counts is what was imported from it and pushed; what is lost with it is the stash, other branches
and ignored files.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from domain import errors, refs, work
from integrations.git import mirror, names, runner

_FRESH_PREFIX: Final = "fresh-"
_OLD_PREFIX: Final = "old-"


class Note(BaseModel):
    """What the worker knows about a clone, kept beside it where no agent can write."""

    model_config = ConfigDict(extra="ignore")

    repo: refs.Repository
    branch: str
    remote_sha: str = ""
    """Tip of the branch on the forge as this clone knows it, built upon or knowingly left behind; empty: none."""
    base_branch: str = ""
    holder: str = ""
    """Different for every clone that was built: the work in progress on the forge names the one that moved it last."""
    wip_sha: str = ""
    """The work in progress on the forge as this clone knows it; empty: none, or the forge takes none."""
    wip_state: str = ""
    """Head and tree of that work: as long as the files are the same, nothing is pushed."""
    accepted: tuple[work.AcceptedCommit, ...] = ()
    """What persons did by hand: it may stand in the work in progress as it may in the pull request."""


@dataclass(frozen=True)
class Identity:
    """Author and committer of what is committed for a run."""

    name: str = "Fettle"
    email: str = "fettle@users.noreply.invalid"


@dataclass(frozen=True)
class Start:
    """What a clone's branch begins with: `head` on `branch`, and `base_tip` known as `origin/<base_branch>`."""

    branch: str
    head: str
    base_branch: str
    base_tip: str
    files: str = ""
    """A commit on top of `head` whose files are laid out without it: uncommitted work. Empty: the files of `head`."""


@dataclass(frozen=True)
class RunClone:
    """The clone of one run, at its own place under `<state>/worktrees`."""

    home: Path

    @classmethod
    def of(cls, state: Path, run: str) -> "RunClone":
        return cls(state / "worktrees" / names.run_slug(run))

    @property
    def path(self) -> Path:
        return self.home / "repo"

    def read_note(self) -> Note | None:
        """None when there is no whole clone."""
        with suppress(OSError, ValidationError):
            note = Note.model_validate_json(self._note.read_text())
            if stat.S_ISDIR(self.path.lstat().st_mode):
                return note
        return None

    def write_note(self, note: Note) -> None:
        fresh = self._note.with_suffix(".new")
        fresh.write_text(note.model_dump_json())
        os.replace(fresh, self._note)

    async def build(self, source: mirror.Mirror, start: Start, identity: Identity, note: Note) -> None:
        """Make the clone anew with its files checked out; a former one is removed.

        The note is written last: a clone without one was not finished and is built again.
        """
        with self._beside() as fresh:
            await build(source, fresh, start, identity)
            await check_out(source, fresh, start.files or "HEAD")
            if start.files:
                await source.git.run("read-tree", "--reset", "HEAD", at=runner.Place(fresh / ".git"))
            self.created_note.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
            await asyncio.to_thread(self._put_away, self.path)
            os.rename(fresh, self.path)
            self.write_note(note)

    async def renew_git(self, source: mirror.Mirror, start: Start, identity: Identity) -> None:
        """Replace the clone's `.git` by a fresh one at `start`, and leave every file in place.

        The files are those `start.head` was made of, so the next `git status` in the clone finds nothing changed.
        """
        with self._beside() as fresh:
            await build(source, fresh, start, identity)
            await source.git.run("read-tree", "--reset", "HEAD", at=runner.Place(fresh / ".git"))
            os.rename(fresh / ".git", self._next_git)
            await asyncio.to_thread(self._put_away, self.path / ".git")
            self.finish_renewal()

    def finish_renewal(self) -> None:
        """Put the fresh `.git` in place that a worker had made whole before it died; nothing to do is no error."""
        if self._next_git.exists() and not os.path.lexists(self.path / ".git"):
            os.rename(self._next_git, self.path / ".git")

    def remove(self) -> None:
        """Remove the clone and its note; nothing there is no error."""
        remove_tree(self.home)

    @property
    def created_note(self) -> Path:
        """Where others note what they do once in a clone. It goes when the clone is built anew, and the agent cannot
        write it."""
        return self.home / "after_create.json"

    @property
    def _note(self) -> Path:
        return self.home / "clone.json"

    @property
    def _next_git(self) -> Path:
        return self.home / "next.git"

    @contextmanager
    def _beside(self) -> Iterator[Path]:
        """A fresh directory on the same file system, outside of what the agent can write; removed if it stays."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (*self.home.glob(f"{_FRESH_PREFIX}*"), *self.home.glob(f"{_OLD_PREFIX}*"), self._next_git):
            remove_tree(left)
        folder = Path(tempfile.mkdtemp(prefix=_FRESH_PREFIX, dir=self.home))
        try:
            yield folder
        finally:
            remove_tree(folder)

    def _put_away(self, path: Path) -> None:
        """Remove whatever is at `path`; renamed first, so that at its place there is all of it or nothing."""
        old = Path(tempfile.mkdtemp(prefix=_OLD_PREFIX, dir=self.home))
        with suppress(FileNotFoundError):
            os.rename(path, old / "it")
        remove_tree(old)


async def build(source: mirror.Mirror, folder: Path, start: Start, identity: Identity) -> None:
    """A repository in the empty `folder` that borrows the mirror's objects; no file is checked out."""
    git_dir = await _init(source, folder, start.branch, identity)
    (git_dir / "objects" / "info" / "alternates").write_text(f"{source.objects}\n")
    updates = f"update {names.branch_ref(start.branch)} {start.head}\n"
    updates += f"update refs/remotes/origin/{names.checked_branch(start.base_branch)} {start.base_tip}\n"
    await source.git.run("update-ref", "--stdin", at=runner.Place(git_dir), stdin=updates.encode())


async def check_out_alone(source: mirror.Mirror, folder: Path, sha: str, identity: Identity) -> None:
    """One commit with its files in the empty `folder`, in a repository that holds nothing else and borrows nothing."""
    git_dir = await _init(source, folder, "verified", identity)
    await source.git.run(
        *("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules"),
        *("--update-head-ok", "--end-of-options"),  # the branch is unborn, nothing is checked out yet
        *(str(source.path), f"{sha}:refs/heads/verified"),
        at=runner.Place(git_dir),
        config=("transfer.fsckObjects=false", "fetch.fsckObjects=false"),  # the mirror's objects were checked
        protocols=("file",),
        timeout_seconds=1800,
    )
    await check_out(source, folder)


async def check_out(source: mirror.Mirror, folder: Path, commit: str = "HEAD") -> None:
    """Write the files of a commit into a repository in `folder` that nobody else has written to."""
    await source.git.run(
        *("read-tree", "--reset", "-u", "--no-recurse-submodules", commit),
        at=runner.Place(folder / ".git", work_tree=folder),
        timeout_seconds=1800,
    )


async def _init(source: mirror.Mirror, folder: Path, branch: str, identity: Identity) -> Path:
    branch = names.checked_branch(branch)
    await source.git.run(
        *("init", "--quiet", "--template=", f"--initial-branch={branch}", "--end-of-options", str(folder))
    )
    with (folder / ".git" / "config").open("a") as config:
        config.write(f"[user]\n\tname = {_quoted(identity.name)}\n\temail = {_quoted(identity.email)}\n")
        config.write("[gc]\n\tauto = 0\n")
    return folder / ".git"


def _quoted(value: str) -> str:
    if not value.isprintable():
        raise errors.ConfigurationError(
            f"{value!r} was given as the committer's name or address, git accepts printable text: correct the settings"
        )
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def remove_left_locks(folder: Path) -> int:
    """Remove what a git that was killed in the middle left locked in a clone. Returns how many; what cannot be removed
    stays.

    Only for a clone in which no process is at work: git itself never removes such a file, and refuses from then on.
    """
    top = folder / ".git"
    removed, places = 0, [top]
    while places:
        place = places.pop()
        with suppress(OSError):
            if not stat.S_ISDIR(place.lstat().st_mode):
                continue  # a link may lead anywhere
            for entry in list(os.scandir(place)):
                if entry.name.endswith(".lock") and not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    removed += 1
                elif entry.name == "refs" or place != top:
                    places.append(Path(entry.path))
    return removed


def remove_tree(folder: Path) -> None:
    """Remove a directory, also one whose parts were made unwritable; nothing there is no error."""
    with suppress(FileNotFoundError):
        try:
            shutil.rmtree(folder)
        except PermissionError:
            for path, below, _ in os.walk(folder):
                for each in (path, *(os.path.join(path, name) for name in below)):
                    if not os.path.islink(each):
                        os.chmod(each, 0o700)
            shutil.rmtree(folder)
