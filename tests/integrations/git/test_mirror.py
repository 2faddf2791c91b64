import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from domain import errors, refs
from integrations.git import mirror, packing, runner
from tests.integrations.git.http_remote import Remote, serving
from tests.integrations.git.lab import BRANCH, REPO, Lab, git


@pytest.fixture
def remote(lab: Lab) -> mirror.Remote:
    return mirror.Remote(lab.forge.clone_url(REPO))


async def test_fetch_follows_new_moved_and_removed_branches(lab: Lab, remote: mirror.Remote) -> None:
    lab.push({"x.txt": "x\n"}, branch="topic")
    await lab.source.fetch(remote)
    assert await lab.source.branch("main") == lab.first
    moved = lab.push({"y.txt": "y\n"}, branch="main")
    git(lab.person, "push", "--quiet", "origin", ":topic")
    await lab.source.fetch(remote)
    assert await lab.source.branch("main") == moved
    assert await lab.source.branch("topic") == ""


async def test_fetch_survives_a_branch_that_became_a_directory(lab: Lab, remote: mirror.Remote) -> None:
    lab.push({"x.txt": "x\n"}, branch="topic")
    await lab.source.fetch(remote)
    git(lab.person, "push", "--quiet", "origin", ":topic")
    below = lab.push({"y.txt": "y\n"}, branch="topic/below")
    await lab.source.fetch(remote)
    assert await lab.source.branch("topic/below") == below


async def test_tags_and_foreign_refs_are_not_fetched(lab: Lab, remote: mirror.Remote) -> None:
    git(lab.person, "push", "--quiet", "origin", "HEAD:refs/tags/v1", "HEAD:refs/pull/1/head", "HEAD:refs/replace/x")
    await lab.source.fetch(remote)
    assert git(lab.source.path, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_concurrent_fetches_take_turns(lab: Lab, remote: mirror.Remote) -> None:
    """Other worker processes have a `Mirrors` of their own: the file lock stands between them."""
    others = [lab.host(lab.state).of(REPO) for _ in range(4)]
    await asyncio.gather(*(each.fetch(remote) for each in others))
    assert await lab.source.branch("main") == lab.first
    assert [path.name for path in lab.source.path.parent.iterdir() if path.name.startswith(".new-")] == []


async def test_stale_push_is_refused_with_both_commits(lab: Lab, remote: mirror.Remote) -> None:
    await lab.source.fetch(remote)
    theirs = lab.push({"theirs.txt": "x\n"}, branch=BRANCH)
    with pytest.raises(errors.RefMoved) as moved:
        await lab.source.push(remote, branch=BRANCH, sha=lab.first, expected="")
    assert theirs in str(moved.value)
    assert "a new branch" in str(moved.value)
    assert lab.tip() == theirs


async def test_push_that_was_made_before_counts_as_done(lab: Lab, remote: mirror.Remote) -> None:
    await lab.source.fetch(remote)
    for _ in range(2):
        await lab.source.push(remote, branch=BRANCH, sha=lab.first, expected="")
    assert lab.tip() == lab.first
    assert await lab.source.branch(BRANCH) == lab.first


async def test_push_replaces_exactly_the_expected_commit(lab: Lab, remote: mirror.Remote) -> None:
    old = lab.push({"old.txt": "x\n"}, branch=BRANCH)
    await lab.source.fetch(remote)
    await lab.source.push(remote, branch=BRANCH, sha=lab.first, expected=old)
    assert lab.tip() == lab.first


async def test_push_that_the_forge_rejects_is_an_error_with_its_words(lab: Lab, remote: mirror.Remote) -> None:
    await lab.source.fetch(remote)
    hook = lab.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected here >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(errors.GitFailed, match="protected here"):
        await lab.source.push(remote, branch=BRANCH, sha=lab.first, expected="")


async def test_many_packs_become_few_and_nothing_is_lost_that_no_ref_names(lab: Lab, remote: mirror.Remote) -> None:
    """A run's clone borrows commits that a forced push has made unreachable."""
    lost = lab.push({"x.txt": "x\n"}, branch="topic")
    await lab.source.fetch(remote)
    git(lab.person, "push", "--quiet", "origin", ":topic")
    packs = lab.source.objects / "pack"
    for number in range(60):
        blob = git(lab.source.path, "hash-object", "-w", "--stdin", stdin=f"{number}\n".encode())
        git(lab.source.path, "pack-objects", "--quiet", str(packs / "pack"), stdin=f"{blob}\n".encode())
        (lab.source.objects / blob[:2] / blob[2:]).unlink()
    await lab.source.fetch(remote)
    assert len(list(packs.glob("*.pack"))) < 10
    assert git(lab.source.path, "cat-file", "-t", lost) == "commit"
    assert git(lab.source.path, "cat-file", "-p", blob) == "59"


async def test_many_loose_objects_are_packed(lab: Lab, remote: mirror.Remote) -> None:
    await lab.source.fetch(remote)
    paths = []
    for number in range(20_000):
        content = f"{number}\n".encode()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if blob.startswith("17"):
            paths.append(git(lab.source.path, "hash-object", "-w", "--stdin", stdin=content))
        if len(paths) == 30:
            break
    await lab.source.fetch(remote)
    assert list((lab.source.objects / "17").glob("*")) == []
    assert git(lab.source.path, "cat-file", "-t", paths[0]) == "blob"


@pytest.mark.timeout(120)
async def test_mirror_that_cannot_be_packed_in_time_is_fetched_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A repository may be too large for it: its runs go on, and not every fetch waits for it anew."""
    monkeypatch.setattr(packing, "_MOST_PACKS", 0)
    for seconds in (0.5, 4, 16):
        monkeypatch.setattr(packing, "_SECONDS", seconds)
        if tried := await _fetches_that_do_not_pack(tmp_path / f"{seconds}"):
            break  # a busy machine may end the packing before it has begun
    assert tried == ".\n"


async def _fetches_that_do_not_pack(folder: Path) -> str:
    """A dot for each time that packing has begun."""
    lab = Lab(folder)
    remote = mirror.Remote(lab.forge.clone_url(REPO))
    tried = folder / "tried"
    tried.touch()
    shim = folder / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(
        f'#!/bin/sh\ncase " $* " in *" repack "*) echo . >> {tried}; exec sleep 50;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    shim.chmod(0o755)
    path = {"PATH": f"{shim.parent}:{os.environ['PATH']}"}
    slow = mirror.Mirrors.under(lab.state, environment=path, allow_file_remotes=True).of(REPO)
    await slow.fetch(remote)
    _one_pack(lab, b"x")
    for number in range(2):
        moved = lab.push({"y.txt": f"{number}\n"})
        await slow.fetch(remote)
        assert await slow.branch("main") == moved
    return tried.read_text()


async def test_halves_of_packs_that_a_killed_git_left_are_removed(lab: Lab, remote: mirror.Remote) -> None:
    await lab.source.fetch(remote)
    packs = lab.source.objects / "pack"
    _one_pack(lab, b"x")
    whole = sorted(path.name for path in packs.iterdir())
    for name in ("tmp_pack_x", "tmp_idx_x", ".tmp-1-pack-x.pack"):
        (packs / name).touch()
    for path in packs.iterdir():
        os.utime(path, (1e9, 1e9))
    (packs / "tmp_pack_under_way").touch()
    await lab.source.fetch(remote)
    assert sorted(path.name for path in packs.iterdir()) == [*whole, "tmp_pack_under_way"]


def _one_pack(lab: Lab, content: bytes) -> None:
    """An object that no ref names, in a pack of its own."""
    blob = git(lab.source.path, "hash-object", "-w", "--stdin", stdin=content)
    git(lab.source.path, "pack-objects", "--quiet", "objects/pack/pack", stdin=f"{blob}\n".encode())


async def test_blemished_old_history_is_fetched(lab: Lab, remote: mirror.Remote) -> None:
    """Strict checks are for an agent's commits: many good repositories carry old faults."""
    tree = git(lab.person, "rev-parse", "HEAD^{tree}")
    odd = f"tree {tree}\nauthor A <a@b> 1 +051800\ncommitter A <a@b> 1 +0000\n\nold\n"
    sha = git(lab.person, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=odd.encode())
    git(lab.person, "push", "--quiet", "origin", f"{sha}:refs/heads/old")
    await lab.source.fetch(remote)
    assert await lab.source.branch("old") == sha


async def test_repository_that_is_not_there_is_told_apart(lab: Lab) -> None:
    missing = lab.mirrors.of(refs.Repository(owner="acme", name="gone"))
    with pytest.raises(errors.NotFound, match="acme/gone"):
        await missing.fetch(mirror.Remote(lab.forge.clone_url(missing.repo)))


@pytest.mark.parametrize("name", ["..", "a/b", "x.git", "-/../x"])
def test_repository_names_cannot_leave_the_mirrors(lab: Lab, name: str) -> None:
    with pytest.raises(ValueError, match="not a repository"):
        lab.mirrors.of(refs.Repository(owner="acme", name=name))


def _arguments_of_children() -> str:
    """Command lines of all processes below this one."""
    seen, pending = "", [os.getpid()]
    while pending:
        pid = pending.pop()
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending += [int(child) for child in (task / "children").read_text().split()]
            seen += Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") + "\n"
        except (FileNotFoundError, ProcessLookupError):
            continue
    return seen


async def test_token_travels_in_the_request_and_nowhere_else(lab: Lab) -> None:
    token = "s3cret-push-token"
    command_lines: list[str] = []
    server = Remote(lab.root / "forge", "fettle", token, on_request=_recorder(command_lines))
    with serving(server):
        over_http = mirror.Remote(f"{server.address}/{REPO}.git", runner.Credentials("fettle", token))
        await lab.source.fetch(over_http)
        await lab.source.push(over_http, branch=BRANCH, sha=lab.first, expected="")
        with pytest.raises(errors.NotFound, match=r"acme/api .* not found"):
            await lab.source.fetch(mirror.Remote(f"{server.address}/acme/gone.git", over_http.credentials))
        with pytest.raises(errors.BadCredentials) as refused:
            await lab.source.fetch(mirror.Remote(over_http.url, runner.Credentials("fettle", "wrong-token")))
    assert lab.tip() == lab.first
    assert server.expected in server.authorizations
    assert any("git push" in line or " push " in line for line in command_lines)
    assert token not in "".join(command_lines)
    assert "wrong-token" not in str(refused.value)
    files = [path for path in lab.state.rglob("*") if path.is_file() and path.stat().st_size < 1_000_000]
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def _recorder(lines: list[str]) -> Callable[[], None]:
    return lambda: lines.append(_arguments_of_children())


async def test_token_is_not_sent_after_a_redirect(lab: Lab, tmp_path: Path) -> None:
    with (
        serving(Remote(tmp_path, "fettle", "t")) as thief,
        serving(Remote(tmp_path, "fettle", "t", redirect_to=thief.address)) as server,
    ):
        over_http = mirror.Remote(f"{server.address}/{REPO}.git", runner.Credentials("fettle", "s3cret-token"))
        with pytest.raises(errors.GitFailed):
            await lab.source.fetch(over_http)
    assert [given for given in thief.authorizations if given] == []


async def test_several_refs_are_moved_together_or_not_at_all(lab: Lab, remote: mirror.Remote) -> None:
    await lab.source.fetch(remote)
    mine = "refs/tool/mine"
    await lab.source.move(remote, mirror.Move(mine, lab.first, ""))
    assert await lab.source.resolve(mine) == lab.first
    theirs = lab.push({"theirs.txt": "x\n"}, branch="topic")
    both = (mirror.Move(f"refs/heads/{BRANCH}", lab.first, ""), mirror.Move(mine, "", theirs))
    with pytest.raises(errors.RefMoved, match="refs/tool/mine"):
        await lab.source.move(remote, *both)
    assert lab.tip() == ""
    both = (both[0], mirror.Move(mine, "", lab.first))
    await lab.source.move(remote, *both)
    assert (lab.tip(), await lab.source.resolve(mine)) == (lab.first, "")
    assert await lab.source.remote_refs(remote, mine, "refs/heads/main") == {"refs/heads/main": lab.first}
    await lab.source.move(remote, *both)  # a lost answer is asked for again


async def test_a_folder_of_refs_is_fetched_when_it_is_asked_for(lab: Lab, remote: mirror.Remote) -> None:
    git(lab.person, "push", "--quiet", "origin", "HEAD:refs/tool/a/work", "HEAD:refs/tool/b/work")
    await lab.source.fetch(remote, folders=("refs/tool/a/",))
    assert await lab.source.resolve("refs/tool/a/work") == lab.first
    assert await lab.source.resolve("refs/tool/b/work") == ""
    git(lab.person, "push", "--quiet", "origin", ":refs/tool/a/work")
    await lab.source.fetch(remote, folders=("refs/tool/a/",))
    assert await lab.source.resolve("refs/tool/a/work") == ""
