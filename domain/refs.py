"""Names of things: repositories, issues, pull requests, and the workflow ids made of them."""

import re

from pydantic import BaseModel, ConfigDict

from domain import wire

_REPOSITORY = re.compile(r"^(?P<owner>[A-Za-z0-9][A-Za-z0-9_.-]{0,99})/(?P<name>[A-Za-z0-9_.-]{1,100})$")
_RUN = re.compile(r"^(?:(?P<repo>[^#\s]+)#)?(?P<number>[1-9][0-9]{0,8})$")


class Ref(BaseModel):
    """A frozen value object: usable as a dict key and safe to share."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Repository(Ref):
    """`owner/name` on the forge."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Read `owner/name`.

        Raises:
            ValueError: the text has another form, or a part could be read as a path (`.`, `..`).
        """
        match = _REPOSITORY.match(text)
        if not match or match["name"] in {".", ".."} or match["name"].endswith(".git"):
            raise ValueError(f"'{text}' is not a repository: expected owner/name, for example acme/api")
        return cls(owner=match["owner"], name=match["name"])

    def issue(self, number: int) -> "Issue":
        return Issue(repo=self, number=number)

    def pull(self, number: int) -> "PullRequest":
        return PullRequest(repo=self, number=number)


class Issue(Ref):
    """`owner/name#number`; a run is named after its issue."""

    repo: Repository
    number: int

    def __str__(self) -> str:
        return f"{self.repo}#{self.number}"

    @property
    def workflow_id(self) -> str:
        return f"issue/{self.repo}/{self.number}"

    @classmethod
    def from_workflow_id(cls, workflow_id: str) -> "Issue":
        """Raises ValueError when the id is not of an issue run."""
        kind, _, rest = workflow_id.partition("/")
        repo, _, number = rest.rpartition("/")
        if kind != "issue" or not number.isdigit():
            raise ValueError(f"'{workflow_id}' is not an issue run: expected issue/<owner>/<repo>/<number>")
        return cls(repo=Repository.parse(repo), number=int(number))


class PullRequest(Ref):
    """A pull request of a repository."""

    repo: Repository
    number: int

    def __str__(self) -> str:
        return f"{self.repo}#{self.number}"


class RunName(Ref):
    """What a person types to name a run: `owner/repo#12`, or `12` when unambiguous."""

    repo: Repository | None = None
    number: int

    @classmethod
    def parse(cls, text: str) -> "RunName":
        """Raises ValueError with the accepted forms."""
        match = _RUN.match(text.strip())
        if not match:
            raise ValueError(f"'{text}' names no run: expected owner/repo#12, or 12 when unambiguous")
        return cls(repo=Repository.parse(match["repo"]) if match["repo"] else None, number=int(match["number"]))


def repository_workflow_id(repo: Repository) -> str:
    return f"repository/{repo}"


def merge_queue_workflow_id(repo: Repository, branch: str) -> str:
    return f"merge-queue/{repo}/{branch}"


FLEET_WORKFLOW_ID = "fleet"


def host_queue(host_id: str) -> str:
    return f"{wire.HOST_QUEUE_PREFIX}{host_id}"


def round_id(run: str) -> str:
    """Workflow id of a run's implementation round; one at a time."""
    return f"{run}/implement"


def slug(text: str, limit: int = 40) -> str:
    """Lower-case letters, digits and single dashes, at most `limit` characters; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-")


def work_branch(issue: Issue, title: str) -> str:
    """The branch an issue's work is pushed to. It starts with the issue's number, so that a webhook about the
    branch names its run without a look-up."""
    tail = slug(title)
    return f"{wire.WORK_BRANCH_PREFIX}{issue.number}" + (f"-{tail}" if tail else "")


def issue_of_branch(repo: Repository, branch: str) -> Issue | None:
    """The issue whose work branch this is, or None for everybody else's branches."""
    if not branch.startswith(wire.WORK_BRANCH_PREFIX):
        return None
    number = branch.removeprefix(wire.WORK_BRANCH_PREFIX).partition("-")[0]
    return repo.issue(int(number)) if number.isdigit() else None


def queue_branch(base: str, pull_number: int) -> str:
    """The branch on which a merge candidate of `pull_number` into `base` is tested."""
    return f"{wire.QUEUE_BRANCH_PREFIX}{base}/{pull_number}"


def base_of_queue_branch(branch: str) -> str | None:
    if not branch.startswith(wire.QUEUE_BRANCH_PREFIX):
        return None
    base, _, number = branch.removeprefix(wire.QUEUE_BRANCH_PREFIX).rpartition("/")
    return base if base and number.isdigit() else None
