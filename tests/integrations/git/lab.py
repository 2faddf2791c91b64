"""A forge made of a bare repository, a worker's state directory, and an agent that runs git as it likes."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from temporalio.testing import ActivityEnvironment

from activities import artifact_store, integration, worktree
from domain import redaction, refs, work
from integrations.forge.port import PushCredentials
from integrations.git import checks, clones, mirror

REPO = refs.Repository(owner="acme", name="api")
RUN = "issue/acme/api/12"
BRANCH = "fettle/issue-12-add-a-limit"
HELD_SECRET = "correct-horse-battery-staple"


class FileForge:
    """The two things git needs of a forge, for repositories in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def clone_url(self, repo: refs.Repository) -> str:
        return f"file://{self.root}/{repo}.git"

    async def push_credentials(self, repo: refs.Repository) -> PushCredentials:
        return PushCredentials("fettle", "not-asked-for")


def git(folder: Path, *args: str, stdin: bytes = b"", check: bool = True) -> str:
    """Run git the way a person or an agent does: with the configuration and hooks it finds in `folder`."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Agent",
        "GIT_AUTHOR_EMAIL": "agent@example.com",
        "GIT_COMMITTER_NAME": "Agent",
        "GIT_COMMITTER_EMAIL": "agent@example.com",
        "GIT_ALLOW_PROTOCOL": "file:ssh:ext",
    }
    done = subprocess.run(["git", *args], cwd=folder, env=env, input=stdin, capture_output=True)
    if check and done.returncode:
        raise AssertionError(f"git {args}: {done.stderr.decode()}")
    return done.stdout.decode(errors="replace").strip()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@dataclass
class Lab:
    """One repository on the forge with a first commit on main, and the activities of one host."""

    root: Path

    def __post_init__(self) -> None:
        self.bare = self.root / "forge" / "acme" / "api.git"
        self.bare.mkdir(parents=True)
        git(self.bare, "init", "--bare", "--quiet", "--initial-branch=main")
        self.person = self.root / "person"
        git(self.root, "clone", "--quiet", str(self.bare), str(self.person))
        git(self.person, "checkout", "--quiet", "-B", "main")
        self.first = self.push({"README.md": "# api\n", "src/app.py": "LIMIT = 1\n", ".gitignore": "build/\n"})
        self.state = self.root / "state"
        self.forge = FileForge(self.root / "forge")
        self.store = artifact_store.DirectoryStore(self.root / "artifacts")
        self.mirrors = self.host(self.state)
        self.rules = checks.Rules()
        self.marker = self.root / "planted-command-ran"

    @property
    def clone(self) -> Path:
        return clones.RunClone.of(self.state, RUN).path

    @property
    def source(self) -> mirror.Mirror:
        return self.mirrors.of(REPO)

    def host(self, state: Path) -> mirror.Mirrors:
        return mirror.Mirrors.under(state, allow_file_remotes=True)

    def push(self, files: dict[str, str], *, branch: str = "main", message: str = "A person's change") -> str:
        """Commit and push as a person does; returns the commit."""
        write(self.person, files)
        git(self.person, "add", "--all")
        git(self.person, "commit", "--quiet", "--allow-empty", "-m", message)
        git(self.person, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return git(self.person, "rev-parse", "HEAD")

    def tip(self, branch: str = BRANCH) -> str:
        return git(self.bare, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", check=False)

    async def prepare(
        self,
        *,
        start_fresh: bool = False,
        mirrors: mirror.Mirrors | None = None,
        accepted: tuple[work.AcceptedCommit, ...] = (),
    ) -> work.Worktree:
        activities = worktree.WorktreeActivities(self.forge, mirrors or self.mirrors)  # type: ignore[arg-type]  # the two methods it uses
        request = work.PrepareWorktree(
            run=RUN, repo=REPO, base_branch="main", branch=BRANCH, start_fresh=start_fresh, accepted=accepted
        )
        return await ActivityEnvironment().run(activities.prepare_worktree, request)

    async def integrate(
        self,
        *,
        expected: str = "",
        mirrors: mirror.Mirrors | None = None,
        policy_file: str = "",
        person: str = "",
        handed_over: work.HandedOver | None = None,
        accepted: tuple[work.AcceptedCommit, ...] = (),
    ) -> work.Integration:
        hosted = mirrors or self.mirrors
        request = work.IntegrateWork(
            run=RUN,
            repo=REPO,
            base_branch="main",
            branch=BRANCH,
            worktree=str(clones.RunClone.of(hosted.state, RUN).path),
            expected_remote_sha=expected,
            commit_message="Leftover work",
            policy_file=policy_file,
            person=person,
            handed_over=handed_over,
            accepted=accepted,
        )
        return await ActivityEnvironment().run(self._integration(hosted).integrate_work, request)

    async def survey(self) -> work.HandedOver:
        """What the agent has left, as it is noted before a person gets the worktree."""
        request = work.SurveyWorktree(run=RUN, repo=REPO, base_branch="main")
        return await ActivityEnvironment().run(self._integration(self.mirrors).survey_worktree, request)

    def _integration(self, hosted: mirror.Mirrors) -> integration.IntegrationActivities:
        return integration.IntegrationActivities(
            self.forge,  # type: ignore[arg-type]  # the two methods it uses
            hosted,
            self.store,
            redaction.Redactor(frozenset({HELD_SECRET})),
            rules=self.rules,
        )

    def commit(self, files: dict[str, str], message: str = "Work") -> str:
        """Commit in the run's clone as the agent does."""
        write(self.clone, files)
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
        return git(self.clone, "rev-parse", "HEAD")

    def plant(self) -> str:
        """A command line that leaves the marker."""
        return f"touch {self.marker}"
