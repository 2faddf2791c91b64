"""An agent may write anything into its clone, configuration and hooks included: none of it runs in the worker."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from domain import errors, work
from tests.integrations.git.lab import BRANCH, Lab, git, write


def _config(*settings: tuple[str, str]) -> Callable[[Lab], None]:
    def plant(lab: Lab) -> None:
        for key, value in settings:
            git(lab.clone, "config", key, value.replace("PLANTED", lab.plant()))

    return plant


def _attributes(line: str, *settings: tuple[str, str]) -> Callable[[Lab], None]:
    def plant(lab: Lab) -> None:
        write(lab.clone, {".gitattributes": line})
        _config(*settings)(lab)

    return plant


def _hooks(lab: Lab) -> None:
    names = "pre-commit commit-msg post-commit reference-transaction post-index-change pre-push post-checkout pre-gc"
    for name in f"{names} pre-auto-gc proc-receive post-merge fsmonitor-watchman applypatch-msg".split():
        hook = lab.clone / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{lab.plant()}\n")
        hook.chmod(0o755)


def _hooks_path(lab: Lab) -> None:
    _hooks(lab)
    git(lab.clone, "config", "core.hooksPath", str(lab.clone / ".git" / "hooks"))


def _include(lab: Lab) -> None:
    write(lab.clone, {"build/more.config": f"[core]\n\tfsmonitor = {lab.plant()}\n"})
    git(lab.clone, "config", "include.path", str(lab.clone / "build" / "more.config"))


def _ext_remote(lab: Lab) -> None:
    _config(("remote.origin.url", f"ext::sh -c {lab.plant().replace(' ', '% ')}"))(lab)


def _signing(lab: Lab) -> None:
    program = lab.root / "sign"
    program.write_text(f"#!/bin/sh\n{lab.plant()}\n")
    program.chmod(0o755)
    _config(("gpg.program", str(program)), ("commit.gpgSign", "true"))(lab)


def _promisor(lab: Lab) -> None:
    url = f"ext::sh -c {lab.plant().replace(' ', '% ')}"
    _config(
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "evil"),
        ("remote.evil.promisor", "true"),
        ("remote.evil.url", url),
        ("protocol.ext.allow", "always"),
    )(lab)


def _worktree_config(lab: Lab) -> None:
    _config(("core.repositoryFormatVersion", "1"), ("extensions.worktreeConfig", "true"))(lab)
    (lab.clone / ".git" / "config.worktree").write_text(f"[core]\n\tfsmonitor = {lab.plant()}\n")


def _conditional_include(lab: Lab) -> None:
    write(lab.clone, {"build/more.config": f"[core]\n\tfsmonitor = {lab.plant()}\n"})
    git(lab.clone, "config", "includeIf.gitdir/i:**.path", str(lab.clone / "build" / "more.config"))


MISSING = "1234567890123456789012345678901234567890"
ATTACKS: dict[str, tuple[Callable[[Lab], None], tuple[str, ...]]] = {
    "fsmonitor": (_config(("core.fsmonitor", "PLANTED")), ("status",)),
    "clean filter": (
        _attributes("* filter=evil\n", ("filter.evil.clean", "PLANTED; cat"), ("filter.evil.required", "true")),
        ("hash-object", "--path=README.md", "README.md"),
    ),
    "process filter": (
        _attributes("* filter=evil\n", ("filter.evil.process", "PLANTED")),
        ("hash-object", "--path=README.md", "README.md"),
    ),
    "smudge filter": (
        _attributes("* filter=evil\n", ("filter.evil.smudge", "PLANTED; cat")),
        ("checkout-index", "--force", "README.md"),
    ),
    "textconv": (
        _attributes("* diff=evil\n", ("diff.evil.textconv", "PLANTED; cat")),
        ("diff", "HEAD"),
    ),
    "external diff": (_config(("diff.external", "sh -c 'PLANTED'")), ("diff", "HEAD")),
    "hooks": (_hooks, ("commit", "--allow-empty", "-m", "x")),
    "hooks path": (_hooks_path, ("commit", "--allow-empty", "-m", "x")),
    "ssh command": (
        _config(("core.sshCommand", "PLANTED;"), ("remote.origin.url", "ssh://git@127.0.0.1/x")),
        ("fetch", "origin"),
    ),
    "credential helper": (_config(("credential.helper", "!PLANTED")), ("credential", "fill")),
    "included configuration": (_include, ("status",)),
    "ext remote": (_ext_remote, ("fetch", "origin")),
    "lazy fetch": (_promisor, ("cat-file", "-p", MISSING)),
    "signing program": (_signing, ("commit", "--allow-empty", "-m", "x")),
    "diff driver": (_attributes("* diff=evil\n", ("diff.evil.command", "PLANTED; true")), ("diff", "HEAD")),
    "editor": (_config(("core.editor", "PLANTED; true")), ("commit", "--allow-empty")),
    "program of the remote": (
        _config(("remote.origin.url", "."), ("remote.origin.uploadpack", "PLANTED; git-upload-pack")),
        ("fetch", "origin"),
    ),
    "trailer command": (_config(("trailer.sign.command", "PLANTED")), ("interpret-trailers", "--trailer", "sign=x")),
    "refs of the alternate": (
        _config(("core.alternateRefsCommand", "PLANTED; true")),
        ("rev-list", "--alternate-refs", "--max-count=1", "HEAD"),
    ),
    "configuration of the worktree": (_worktree_config, ("status",)),
    "conditional include": (_conditional_include, ("status",)),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_planted_command_does_not_run(lab: Lab, attack: str) -> None:
    """Where an agent's own git would run it, the control proves that the trap is armed."""
    await lab.prepare()
    write(lab.clone, {"README.md": "# changed\n"})
    plant, control = ATTACKS[attack]
    plant(lab)
    git(lab.clone, *control, stdin=b"protocol=https\nhost=x\n\n", check=False)
    assert lab.marker.exists(), "the trap is not armed"
    lab.marker.unlink()
    write(lab.clone, {"left.txt": "uncommitted\n"})
    done = await lab.integrate()
    assert done.outcome is work.IntegrationOutcome.PUSHED
    assert lab.tip() == done.head_sha
    await lab.prepare()
    assert not lab.marker.exists()


async def test_url_rewrite_in_the_clone_does_not_redirect_the_push(lab: Lab, tmp_path: Path) -> None:
    await lab.prepare()
    other = tmp_path / "other.git"
    git(tmp_path, "init", "--bare", "--quiet", str(other))
    for key in ("insteadOf", "pushInsteadOf"):
        git(lab.clone, "config", f"url.file://{other}.{key}", lab.forge.clone_url(lab.source.repo))
    lab.commit({"a.txt": "a\n"})
    done = await lab.integrate()
    assert lab.tip() == done.head_sha
    assert git(other, "for-each-ref") == ""


async def test_configuration_of_the_workers_user_is_not_read(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitPython starts git with the process's environment: the mirror must be read without HOME's configuration."""
    home = tmp_path / "home"
    write(home, {".gitconfig": f"[core]\n\tfsmonitor = {lab.plant()}\n[diff]\n\texternal = sh -c '{lab.plant()}'\n"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"sh -c '{lab.plant()}'")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    assert (await lab.integrate()).outcome is work.IntegrationOutcome.PUSHED
    assert not lab.marker.exists()


async def test_filters_in_the_mirror_would_not_run_when_commits_are_read(lab: Lab) -> None:
    """GitPython reads objects as they are: even a filter that the mirror itself configured stays unused."""
    await lab.prepare()
    (lab.source.path / "info").mkdir(exist_ok=True)
    (lab.source.path / "info" / "attributes").write_text("* diff=evil\n")
    git(lab.source.path, "config", "diff.evil.textconv", f"{lab.plant()}; cat")
    git(lab.source.path, "config", "diff.external", f"sh -c '{lab.plant()}'")
    lab.commit({"a.txt": "a\n"})
    assert (await lab.integrate()).files == ("a.txt",)
    assert not lab.marker.exists()


async def test_git_is_not_started_inside_a_repository_at_the_place_of_a_submodule(lab: Lab, tmp_path: Path) -> None:
    """`git add` asks a submodule for its state by running `git status` in it, with the configuration found there."""
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    git(inner, "commit", "--quiet", "--allow-empty", "-m", "inner")
    git(lab.person, "clone", "--quiet", str(inner), "lib")
    lab.push({".gitmodules": '[submodule "lib"]\n\tpath = lib\n\turl = https://example.com/lib\n'})
    await lab.prepare()
    git(lab.clone, "clone", "--quiet", str(inner), "lib")
    git(lab.clone / "lib", "config", "core.fsmonitor", lab.plant())
    write(lab.clone, {"lib/dirty.txt": "dirty\n", "a.txt": "a\n"})
    git(lab.clone, "status")
    assert lab.marker.exists(), "the trap is not armed"
    lab.marker.unlink()
    done = await lab.integrate()
    assert done.files == ("a.txt",)
    assert not lab.marker.exists()


async def test_nested_repository_stays_out_of_the_commit(lab: Lab) -> None:
    await lab.prepare()
    write(
        lab.clone, {"nested/a.txt": "a\n", "b.txt": "b\n", "odd/.git": "gitdir: /somewhere/else\n", "odd/c.txt": "c\n"}
    )
    git(lab.clone / "nested", "init", "--quiet")
    git(lab.clone / "nested", "commit", "--quiet", "--allow-empty", "-m", "x")
    done = await lab.integrate()
    assert "b.txt" in done.files
    assert not [path for path in done.files if path.startswith("nested") or path.endswith(".git")]


def _git_file(lab: Lab) -> None:
    elsewhere = lab.root / "elsewhere.git"
    os.rename(lab.clone / ".git", elsewhere)
    (lab.clone / ".git").write_text(f"gitdir: {elsewhere}\n")


def _git_symlink(lab: Lab) -> None:
    os.rename(lab.clone / ".git", lab.root / "elsewhere.git")
    (lab.clone / ".git").symlink_to(lab.root / "elsewhere.git")


def _objects_symlink(lab: Lab) -> None:
    os.rename(lab.clone / ".git" / "objects", lab.root / "objects")
    (lab.clone / ".git" / "objects").symlink_to(lab.root / "objects")


def _object_symlink(lab: Lab) -> None:
    sha = git(lab.clone, "rev-parse", "HEAD")
    loose = lab.clone / ".git" / "objects" / sha[:2] / sha[2:]
    os.rename(loose, lab.root / "object")
    loose.symlink_to(lab.root / "object")


def _option_branch(lab: Lab) -> None:
    (lab.clone / ".git" / "HEAD").write_text(f"ref: refs/heads/--upload-pack={lab.plant()}\n")


def _parent_branch(lab: Lab) -> None:
    (lab.root / "sha").write_text(lab.first)
    (lab.clone / ".git" / "HEAD").write_text("ref: refs/heads/../../../../../../sha\n")


def _fifo_head(lab: Lab) -> None:
    (lab.clone / ".git" / "HEAD").unlink()
    os.mkfifo(lab.clone / ".git" / "HEAD")


def _unborn(lab: Lab) -> None:
    git(lab.clone, "checkout", "--quiet", "--orphan", "new")


def _missing_object(lab: Lab) -> None:
    (lab.clone / ".git" / "refs" / "heads" / "gone").write_text(MISSING)
    (lab.clone / ".git" / "HEAD").write_text("ref: refs/heads/gone\n")


@pytest.mark.parametrize(
    "twist",
    [
        _git_file,
        _git_symlink,
        _objects_symlink,
        _object_symlink,
        _option_branch,
        _parent_branch,
        _fifo_head,
        _unborn,
        _missing_object,
    ],
)
async def test_clone_that_is_laid_out_otherwise_is_refused(lab: Lab, twist: Callable[[Lab], None]) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    twist(lab)
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()
    assert lab.tip() == ""
    assert not lab.marker.exists()


async def test_damaged_clone_is_built_anew_by_the_next_preparation(lab: Lab) -> None:
    await lab.prepare()
    _git_symlink(lab)
    found = await lab.prepare()
    assert found.head_sha == lab.first
    assert (lab.clone / ".git").is_dir()
    assert not (lab.clone / ".git").is_symlink()


async def test_objects_of_another_repository_are_not_taken_over(lab: Lab, tmp_path: Path) -> None:
    """The worker can read every mirror: alternates in the clone must not make it fetch another team's files."""
    secret = tmp_path / "secret"
    secret.mkdir()
    git(secret, "init", "--quiet")
    write(secret, {"plans.txt": "another team's plans\n"})
    git(secret, "add", "plans.txt")
    blob = git(secret, "hash-object", "-w", "plans.txt")
    await lab.prepare()
    alternates = lab.clone / ".git" / "objects" / "info" / "alternates"
    alternates.write_text(f"{alternates.read_text()}{secret}/.git/objects\n")
    git(lab.clone, "update-index", "--add", "--cacheinfo", f"100644,{blob},plans.txt")
    git(lab.clone, "commit", "--quiet", "-m", "Take the plans")
    assert git(lab.clone, "show", "HEAD:plans.txt") == "another team's plans", "the trap is not armed"
    with pytest.raises(errors.UnsafeWork):
        await lab.integrate()
    assert git(lab.source.path, "cat-file", "-t", blob, check=False) == ""


async def test_replaced_and_grafted_commits_are_seen_as_they_are(lab: Lab) -> None:
    """A replacement shows the agent's git an innocent commit at the id of another one."""
    await lab.prepare()
    bad = lab.commit({".github/workflows/ci.yml": "on: push\n"})
    git(lab.clone, "reset", "--quiet", "--hard", lab.first)
    good = lab.commit({"a.txt": "a\n"})
    git(lab.clone, "reset", "--quiet", "--hard", bad)
    git(lab.clone, "replace", bad, good)
    (lab.clone / ".git" / "info").mkdir(exist_ok=True)
    (lab.clone / ".git" / "info" / "grafts").write_text(f"{bad} {good}\n")
    git(lab.clone, "reset", "--quiet", "--hard")
    assert "ci.yml" not in git(lab.clone, "ls-tree", "-r", "--name-only", "HEAD"), "the trap is not armed"
    with pytest.raises(errors.UnsafeWork, match="workflows"):
        await lab.integrate()


async def test_commits_that_were_packed_are_imported(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    git(lab.clone, "gc", "--quiet")
    git(lab.clone, "pack-refs", "--all")
    assert not (lab.clone / ".git" / "refs" / "heads" / BRANCH).exists()
    assert (await lab.integrate()).files == ("a.txt",)


async def test_submodule_with_an_address_like_an_option_is_refused(lab: Lab) -> None:
    await lab.prepare()
    lab.commit({".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = --upload-pack={lab.plant()}\n'})
    with pytest.raises(errors.UnsafeWork, match="gitmodules"):
        await lab.integrate()
    assert not lab.marker.exists()


async def test_symlinks_out_of_the_tree_are_refused_committed_or_not(lab: Lab) -> None:
    await lab.prepare()
    (lab.clone / "out").symlink_to("/etc/passwd")
    with pytest.raises(errors.UnsafeWork, match="symlink 'out'"):
        await lab.integrate()
    git(lab.clone, "add", "out")
    git(lab.clone, "commit", "--quiet", "-m", "link")
    (lab.clone / "out").unlink()
    write(lab.clone, {"a.txt": "a\n"})
    with pytest.raises(errors.UnsafeWork, match="symlink 'out'"):
        await lab.integrate()  # still in a commit of the range


async def test_directory_replaced_by_a_symlink_does_not_read_what_is_outside(lab: Lab, tmp_path: Path) -> None:
    write(tmp_path / "outside", {"app.py": "HOST SECRET\n", "more.py": "HOST SECRET\n"})
    await lab.prepare()
    (lab.clone / "src" / "app.py").unlink()
    (lab.clone / "src").rmdir()
    (lab.clone / "src").symlink_to(tmp_path / "outside")
    with pytest.raises(errors.UnsafeWork, match="symlink 'src'"):
        await lab.integrate()
    objects = git(lab.source.path, "cat-file", "--batch-all-objects", "--batch", check=False)
    assert "HOST SECRET" not in objects


async def test_other_spelling_of_the_git_directory_is_refused(lab: Lab) -> None:
    await lab.prepare()
    write(lab.clone, {".GIT/config": "[core]\n"})
    with pytest.raises(errors.UnsafeWork, match="git's own directory"):
        await lab.integrate()


async def test_tree_that_unfolds_without_end_is_refused(lab: Lab) -> None:
    """Twelve levels of ten names for the same tree: 10^12 paths in a few hundred bytes."""
    await lab.prepare()
    blob = git(lab.clone, "hash-object", "-w", "--stdin", stdin=b"x")
    entry, kind = blob, "100644 blob"
    for _ in range(12):
        listing = "".join(f"{kind} {entry}\tn{at}\n" for at in range(10))
        entry, kind = git(lab.clone, "mktree", stdin=listing.encode()), "040000 tree"
    commit = git(lab.clone, "commit-tree", entry, "-p", lab.first, "-m", "bomb")
    git(lab.clone, "update-ref", "HEAD", commit)
    with pytest.raises(errors.UnsafeWork, match="more than"):
        await lab.integrate()
