"""The work of a run on one agent host: the lease, the worktree, the import of commits, verification."""

import enum
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain import artifacts, refs
from domain.hooks import Hooks  # the module's name is a field below

TESTS_FIRST: Final = "FETTLE_TESTS_FIRST"
"""Variable of a verify command: paths of the tests that the change touches or bears on, the nearest first, with a space
between. Always set, empty when none is known. It is a hint: the command alone decides what it runs."""


class Message(BaseModel):
    """Input or output of an activity: new fields are always defaulted, so old histories still read."""

    model_config = ConfigDict(extra="ignore")


class HostLease(Message):
    """A slot on one agent host. `queue` is where the run's disk work goes while the lease holds."""

    host_id: str
    queue: str
    backend_versions: dict[str, str] = {}


class ClaimHost(Message):
    run: str
    """Workflow id that the slot is leased to; claiming twice gives the same lease."""
    backend: str
    least_sandbox: str = ""
    """The least confinement that the run accepts; empty: whatever the host gives."""
    avoid_host: str = ""
    """A host that was lost while it held this run."""


class ReleaseHost(Message):
    run: str
    remove_worktree: bool = True
    hooks: Hooks = Hooks()
    """Of the repository's policy; `before_remove` runs when the worktree goes."""


class ProtectedFile(Message):
    """One protected path as a person has left it; mode 0 and no blob: they have removed it."""

    path: str
    mode: int = 0
    blob: str = ""


class AcceptedCommit(Message):
    """A commit in which a person changed protected paths while they had the worktree. They may, the agent may not."""

    sha: str
    by: str
    files: tuple[ProtectedFile, ...] = ()

    def sentence(self) -> str:
        """For the record: who changed which protected paths, where."""
        names = ", ".join(each.path for each in self.files[:10])
        more = f" and {len(self.files) - 10} more" if len(self.files) > 10 else ""
        return f"{self.by} changed protected paths in commit {self.sha[:9]}: {names}{more}"


class PrepareWorktree(Message):
    """Make, or find again, the run's own clone. Its branch starts at the pushed work branch when there is one,
    at the tip of `base_branch` otherwise."""

    run: str
    repo: refs.Repository
    base_branch: str
    branch: str
    start_fresh: bool = False
    """Ignore what is on the work branch: start again from the base (the old work stays in the forge's reflog)."""
    hooks: Hooks = Hooks()
    """Of the repository's policy; `after_create` runs once for each worktree."""
    issue: str = ""
    """For the hook: `owner/name#12`."""
    accepted: tuple[AcceptedCommit, ...] = ()
    """What persons did before: it may stand in the work in progress that leaves this host."""


class SurveyWorktree(Message):
    """Note what the agent has left, before a person gets the worktree."""

    run: str
    repo: refs.Repository
    base_branch: str


class HandedOver(Message):
    """What the agent had left when a person got the worktree: only what differs from it afterwards is theirs. Both
    are empty when it could not be told, then nothing is."""

    head_sha: str = ""
    tree_sha: str = ""
    """Of all files, uncommitted ones included."""


class Worktree(Message):
    path: str
    base_sha: str
    """Merge base of the branch with the base branch: the first commit that is not ours."""
    head_sha: str
    base_tip_sha: str = ""
    resumed_from_push: bool = False
    resumed_from_wip: bool = False
    """It holds what another host had pushed of unfinished work, uncommitted files included."""
    handed_over: HandedOver | None = None
    """Set while a person has it."""


class IntegrateWork(Message):
    """Take the agent's commits into the mirror, check every one, and push the branch."""

    run: str
    repo: refs.Repository
    base_branch: str
    branch: str
    worktree: str
    expected_remote_sha: str = ""
    """What the branch on the forge must be now; empty: it must not exist."""
    commit_message: str
    """For work the agent left uncommitted."""
    policy_file: str = ""
    """The repository's own policy, which decides over later runs: no run may change it. Empty: the usual name alone."""
    person: str = ""
    """Who hands the worktree back: what differs from `handed_over` is theirs. Empty: it is the agent's work."""
    handed_over: HandedOver | None = None
    accepted: tuple[AcceptedCommit, ...] = ()
    """What persons did before, oldest first: these commits may change protected paths, and a commit that was made of
    one of them may keep its newest content of such a path."""


class FindingLevel(enum.StrEnum):
    BLOCKS = "blocks"
    WARNS = "warns"


class SafetyFinding(Message):
    """A secret or a dangerous pattern on a line that this run adds. The match itself is never carried."""

    rule: str
    level: FindingLevel
    path: str
    line: int = 0
    commit: str = ""
    hint: str = ""


class IntegrationOutcome(enum.StrEnum):
    PUSHED = "pushed"
    NO_CHANGES = "no_changes"
    UNSAFE = "unsafe"


class Integration(Message):
    outcome: IntegrationOutcome
    head_sha: str = ""
    base_sha: str = ""
    files: tuple[str, ...] = ()
    added_lines: int = 0
    removed_lines: int = 0
    findings: tuple[SafetyFinding, ...] = ()
    auto_committed: bool = False
    accepted: tuple[AcceptedCommit, ...] = ()
    """Commits of the person who hands back that change protected paths, oldest first."""
    diff: artifacts.ArtifactRef | None = None


class VerifyCommit(Message):
    """Run the repository's verify command on one commit, in a clean checkout from the mirror."""

    run: str
    repo: refs.Repository
    sha: str
    command: str
    timeout_seconds: float = 300
    base_sha: str = ""
    """Where the change begins; empty: it is not known, and no test is named first."""


class Verification(Message):
    passed: bool
    exit_code: int | None = None
    timed_out: bool = False
    tail: str = ""
    """The last 3,000 characters of output, redacted."""
    seconds: float = 0
    log: artifacts.ArtifactRef | None = None
    tests_first: tuple[str, ...] = ()
    """Tests that the command was told to run first, as FETTLE_TESTS_FIRST."""
