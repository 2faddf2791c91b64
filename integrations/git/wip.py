"""A run's work in progress as one commit: the agent's own commits below it, every file of the worktree in its tree.

Its trailers say which host made it and in which turn. The ref that holds it on the forge is moved with a lease, so it
is also the fence between hosts: who moves it holds the run, and who finds it moved has lost the run.
"""

import re
from dataclasses import dataclass
from typing import Final

from domain import errors
from integrations.git import clones, mirror, names

_TRAILER: Final = re.compile(r"^Fettle-(Run|Turn|Holder): (\S{1,200})$", re.MULTILINE)


@dataclass(frozen=True)
class Saved:
    """One state of the work. `sha` has all files, its parent `head` is the newest commit of the agent."""

    sha: str
    head: str
    run: str
    turn: int
    holder: str


async def commit(
    source: mirror.Mirror, *, run: str, head: str, tree: str, turn: int, holder: str, identity: clones.Identity
) -> Saved:
    """Make the commit in the mirror; no ref points at it yet."""
    message = (
        f"Work in progress of {run}, turn {turn}\n\n"
        "Neither reviewed nor tested: kept so that another host can go on.\n\n"
        f"Fettle-Run: {run}\nFettle-Turn: {turn}\nFettle-Holder: {holder}\n"
    )
    who = (f"user.name={identity.name}", f"user.email={identity.email}")
    made = await source.git.run(
        *("commit-tree", tree, "-p", head, "-F", "-"), at=source.place, stdin=message.encode(), config=who
    )
    return Saved(made.text, head, run, turn, holder)


async def read(source: mirror.Mirror, run: str) -> Saved | None:
    """What the mirror's ref of a run holds, as of the last fetch; None when it holds nothing that was made for it."""
    sha = await source.resolve(names.wip_ref(run))
    return await at(source, run, sha) if sha else None


async def at(source: mirror.Mirror, run: str, sha: str) -> Saved | None:
    """What a commit of the mirror says of itself; None when it was not made for `run` by a host of ours."""
    shown = await source.git.run(
        *("log", "--max-count=1", "--no-show-signature", "--format=%P%n%B", "--end-of-options", sha), at=source.place
    )
    parents, _, message = shown.text.partition("\n")
    facts = dict(_TRAILER.findall(message))
    if not names.SHA.match(parents) or facts.get("Run") != run or not facts.get("Turn", "").isdecimal():
        return None
    return Saved(sha, parents, run, int(facts["Turn"][:9]), facts.get("Holder", ""))


async def publish(
    source: mirror.Mirror, remote: mirror.Remote, clone: clones.RunClone, note: clones.Note, made: Saved
) -> clones.Note:
    """Move the run's ref on the forge to `made`, from the commit that this clone knows. Returns the clone's note with
    it, which is written.

    Raises:
        LeaseLost: another host has moved the ref.
        GitFailed: the forge did not take it.
    """
    ref = names.wip_ref(made.run)
    try:
        await source.move(remote, mirror.Move(ref, made.sha, note.wip_sha))
    except errors.RefMoved:
        there = (await source.remote_refs(remote, ref)).get(ref, "")
        await source.move(remote, mirror.Move(ref, made.sha, await held(source, made.run, note, there)))
    note = note.model_copy(update={"wip_sha": made.sha, "wip_state": ""})
    clone.write_note(note)
    return note


async def held(source: mirror.Mirror, run: str, note: clones.Note, there: str) -> str:
    """The commit that this host's lease on the run is about, `there` being what the forge has now; empty when the
    forge has none and this clone knows none.

    A worker that died between a push and its note left a commit of this very clone on the forge.

    Raises:
        LeaseLost: the forge has what another host made, or no longer what this one did.
    """
    if there == note.wip_sha:
        return there
    if there and await source.resolve(there):
        found = await at(source, run, there)
        if found is not None and note.holder and found.holder == note.holder:
            return there
    raise errors.LeaseLost(
        f"{run} was held by this host with its work in progress at {names.short(note.wip_sha)}, the forge has "
        f"{names.short(there)}: another host has taken the run over, nothing of this one is published any more"
    )
