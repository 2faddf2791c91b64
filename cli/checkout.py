"""The user's own checkout: it is read, and changed only by a fast-forward that was asked for."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli import failures

CI_FILE: Final = ".devforge-ci.json"
"""Where a repository declares the checks of the embedded forge."""
_SECONDS: Final = 300
_OWN_REPOSITORY: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
"""Variables that a hook or an alias sets around us and that would redirect git to another repository."""


@dataclass(frozen=True)
class Checkout:
    """A checkout with a branch and at least one commit."""

    path: Path
    branch: str
    head_sha: str

    @classmethod
    def at(cls, path: Path) -> "Checkout":
        """The checkout that holds `path`.

        Raises:
            failures.Usage: there is none, or it is on no branch, or has no commit.
        """
        top = _git(path, "rev-parse", "--show-toplevel", wrong=f"{path} is in no git checkout: name one with --repo")
        root = Path(top)
        head = _git(root, "rev-parse", "--verify", "HEAD^{commit}", wrong=f"{root} has no commit yet: make one first")
        branch = _git(
            root,
            "symbolic-ref",
            "--short",
            "HEAD",
            wrong=f"{root} is on no branch (detached HEAD): check one out first",
        )
        return cls(root, branch, head)

    @property
    def is_dirty(self) -> bool:
        """Whether tracked files differ from the last commit."""
        return bool(_git(self.path, "status", "--porcelain", "--untracked-files=no"))

    @property
    def declares_checks(self) -> bool:
        """Whether the last commit declares checks that the embedded forge would run."""
        return bool(_git(self.path, "ls-tree", "--name-only", "HEAD", "--", CI_FILE))

    def refuse_dirty(self) -> None:
        """Raises failures.Failed when a fast-forward would meet uncommitted changes."""
        if self.is_dirty:
            raise failures.Failed(
                f"{self.path} has uncommitted changes and --apply moves its branch: commit or stash them first, or "
                "leave --apply away and fetch the result later"
            )

    def fast_forward(self, source: Path, branch: str, sha: str) -> None:
        """Move the checked-out branch to `sha`, which `branch` of the repository `source` holds.

        Raises:
            failures.Failed: uncommitted changes, another branch, or a history that has gone another way since.
        """
        self.refuse_dirty()
        now = Checkout.at(self.path)
        manual = f"git -C {self.path} fetch {source} {branch}"
        if now.branch != self.branch:
            raise failures.Failed(
                f"{self.path} was on {self.branch} and is now on {now.branch}: check {self.branch} out, then {manual}"
            )
        _git(self.path, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(source), branch)
        if _run(self.path, "merge-base", "--is-ancestor", now.head_sha, sha).returncode != 0:
            raise failures.Failed(
                f"{self.branch} in {self.path} has diverged, it is at {now.head_sha[:9]} and the merged result "
                f"{sha[:9]} does not contain that: {manual}, then merge or rebase yourself"
            )
        _git(self.path, "merge", "--quiet", "--ff-only", sha)


def keep_copy(url: str, target: Path) -> None:
    """Clone the finished repository at `url` as a bare one, for fetching when its forge is gone.

    Raises:
        failures.Failed: git refused.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _git(target.parent, "clone", "--quiet", "--bare", url, str(target))


def _git(where: Path, *arguments: str, wrong: str = "") -> str:
    done = _run(where, *arguments)
    if done.returncode == 0:
        return done.stdout.strip()
    if wrong:
        raise failures.Usage(wrong)
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise failures.Failed(f"git {arguments[0]} in {where} failed ({said}): repeat it by hand to see all of it")


def _run(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in _OWN_REPOSITORY}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(
            ["git", "-C", str(where), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as missing:
        raise failures.Failed("git is not installed: install it, then repeat the command") from missing
    except subprocess.TimeoutExpired as late:
        raise failures.Failed(f"git {arguments[0]} in {where} took more than {_SECONDS} s: see what holds it") from late
