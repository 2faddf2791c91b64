"""What an agent left uncommitted becomes a commit in the mirror, on top of the agent's own.

git works here with the mirror's configuration and an index of ours; of the agent's directory it sees the files alone.
Attributes in the files may name filters, but a filter is a program only where configuration says so, and the mirror's
says nothing. Submodules are left alone altogether: asking for their state would start git inside of them.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain import errors
from integrations.git import checks, clones, launch, mirror, names, runner

_GITLINK: Final = b"160000"


@dataclass(frozen=True)
class Snapshot:
    """The commit to go on with, and whether it was made of uncommitted files."""

    sha: str
    made: bool = False


@dataclass
class _Listing:
    """Paths of the working files that differ from the index, as git names them."""

    put: list[bytes]
    drop: list[bytes]


async def commit_leftovers(
    source: mirror.Mirror,
    clone: Path,
    head: str,
    *,
    run: str,
    message: str,
    identity: clones.Identity,
    limits: checks.Limits,
) -> Snapshot:
    """Commit what the files in `clone` have beyond `head`; what the repository ignores stays out.

    Asked again for the same files it finds the commit it made: its ref is kept in the mirror.

    Raises:
        UnsafeWork: a path that git must not be given, or more than `limits`.
        GitFailed: git could not, for a reason that may pass.
    """
    ref = names.snapshot_ref(run)
    made_before = await source.resolve(ref) == head  # then the clone was moved to that commit by an earlier attempt
    tree = await tree_of_files(source, clone, head, limits=limits)
    if tree == await _tree(source, head):
        return Snapshot(head, made_before)
    known = await source.resolve(ref)
    if known and await _tree(source, known) == tree and await _parents(source, known) == [head]:
        return Snapshot(known, made=True)
    who = (f"user.name={identity.name}", f"user.email={identity.email}")
    made = await source.git.run(
        *("commit-tree", tree, "-p", head, "-F", "-"), at=source.place, stdin=message.encode(), config=who
    )
    await source.set_ref(ref, made.text)
    return Snapshot(made.text, made=True)


async def tree_of_files(source: mirror.Mirror, clone: Path, head: str, *, limits: checks.Limits) -> str:
    """The tree, in the mirror, of what the files in `clone` are now; what the repository ignores stays out.

    Raises:
        UnsafeWork: a path that git must not be given, or more than `limits`.
        GitFailed: git could not, for a reason that may pass.
    """
    with source.git.folder("index") as folder:
        place = runner.Place(source.path, work_tree=clone, index=folder / "index")
        await source.git.run("read-tree", head, at=place)
        listing = await _list(source, clone, place, limits)
        # Removed first: a path that was a file may have become a directory.
        await _update(source, place, ("--force-remove",), listing.drop)
        await _update(source, place, ("--add", "--replace"), listing.put)
        return (await source.git.run("write-tree", at=place)).text


async def _list(source: mirror.Mirror, clone: Path, place: runner.Place, limits: checks.Limits) -> _Listing:
    index = await source.git.run("ls-files", "-z", "--stage", at=place)
    gitlinks = {entry.partition(b"\t")[2] for entry in index.stdout.split(b"\0") if entry.startswith(_GITLINK + b" ")}
    try:
        found = await source.git.run(
            *("ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard"),
            at=place,
            most_output=16 * 1024 * 1024,
            timeout_seconds=600,
        )
    except launch.OutputTooLarge as failure:
        raise checks.too_many("uncommitted files", limits.files) from failure
    paths = sorted({path for path in found.stdout.split(b"\0") if path} - gitlinks)
    # A path that ends with a slash is a repository of its own inside of this one: not our work.
    paths = [path for path in paths if not path.endswith(b"/")]
    if len(paths) > limits.files:
        raise checks.too_many("uncommitted files", limits.files)
    return _sorted_out(clone, paths, limits)


def _sorted_out(clone: Path, paths: list[bytes], limits: checks.Limits) -> _Listing:
    listing = _Listing([], [])
    root = os.fsencode(clone)
    total = 0
    for path in paths:
        facts = _facts(root, path)
        if facts is None or stat.S_ISDIR(facts.st_mode):
            listing.drop.append(path)
            continue
        checks.refuse_path(os.fsdecode(path), "an uncommitted file")
        checks.refuse_size(os.fsdecode(path), facts.st_size, limits)
        total += facts.st_size
        listing.put.append(path)
    checks.refuse_total(total, limits)
    return listing


def _facts(root: bytes, path: bytes) -> os.stat_result | None:
    """The file itself; None when it is gone, is no file, or is reached through a symlink (then it is not in here)."""
    try:
        at = root
        for part in path.split(b"/")[:-1]:
            at = os.path.join(at, part)
            if not stat.S_ISDIR(os.lstat(at).st_mode):
                return None
        facts = os.lstat(os.path.join(root, path))
    except OSError:
        return None
    mode = facts.st_mode
    return facts if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode) else None


async def _update(source: mirror.Mirror, place: runner.Place, how: tuple[str, ...], paths: list[bytes]) -> None:
    if paths:
        result = await source.git.run(
            *("update-index", "-z", *how, "--stdin"),
            at=place,
            stdin=b"\0".join(paths) + b"\0",
            timeout_seconds=600,
            check=False,
        )
        if result.code != 0:
            raise errors.GitFailed(
                f"git update-index did not take {len(paths)} uncommitted files, it says: {result.stderr}; "
                "the same step is tried again"
            )


async def _tree(source: mirror.Mirror, commit: str) -> str:
    return (await source.git.run("rev-parse", "--verify", f"{commit}^{{tree}}", at=source.place)).text


async def _parents(source: mirror.Mirror, commit: str) -> list[str]:
    line = (await source.git.run("rev-list", "--parents", "--max-count=1", commit, at=source.place)).text
    return line.split()[1:]
