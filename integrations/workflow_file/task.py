"""What a template may name: the issue in Symphony's and Baton's words, and the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Task:
    """The task of one turn. Texts are anybody's, but for `verify_command`."""

    repository: str
    number: int
    title: str = ""
    body: str = ""
    author: str = ""
    url: str = ""
    state: str = "open"
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    blocked_by: tuple[int, ...] = ()
    """Issues that it depended on; they are done, or it would not be worked on."""
    priority: int | None = None
    created_at: str = ""
    updated_at: str = ""
    attempt: int | None = None
    """None on the first turn, then 1, 2, …"""
    branch: str = ""
    base_branch: str = ""
    verify_command: str = ""
    skills: tuple[str, ...] = ()

    @property
    def identifier(self) -> str:
        return f"{self.repository}#{self.number}"

    def variables(self, trust: Callable[[str], str] = str) -> dict[str, Any]:
        """The template's names; `trust` marks texts that are the installation's own."""
        issue = {
            "id": str(self.number),
            "identifier": self.identifier,
            "number": self.number,
            "title": self.title,
            "body": self.body,
            "description": self.body,
            "labels": list(self.labels),
            "url": self.url,
            "state": self.state,
            "priority": self.priority,
            "author": self.author,
            "assignees": list(self.assignees),
            "blocked_by": [
                {"id": str(number), "identifier": f"{self.repository}#{number}", "state": "closed"}
                for number in self.blocked_by
            ],
            "branch_name": self.branch,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        return {
            "issue": issue,
            "attempt": self.attempt,
            "repository": self.repository,
            "branch": self.branch,
            "base_branch": self.base_branch,
            "verify_command": trust(self.verify_command),
            "skills": list(self.skills),
        }


_SAMPLE: Final = Task(
    repository="acme/api",
    number=12,
    title="Round the total once, at the end",
    body="Each line is rounded by itself, so the total is off by a cent.\n\n## Skills\n\n- `money`\n",
    author="ada",
    url="https://forge.example/acme/api/issues/12",
    labels=("bug", "good first issue"),
    assignees=("ada",),
    blocked_by=(7,),
    priority=3,
    created_at="2026-01-02T03:04:05Z",
    updated_at="2026-01-02T03:04:05Z",
    branch="fettle/issue-12-round-the-total-once",
    base_branch="main",
    verify_command="make test",
    skills=("money",),
)

SAMPLES: Final = (
    _SAMPLE,
    Task(**{**vars(_SAMPLE), "attempt": 1}),
    Task(repository="acme/api", number=1),
)
"""Tasks to try a template with: a first turn, a later one, and an issue of which nothing is known."""

NAMES: Final = tuple(_SAMPLE.variables())
MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "issue": tuple(_SAMPLE.variables()["issue"]),
    "issue.blocked_by": ("id", "identifier", "state"),
    "loop": ("index", "index0", "first", "last", "length", "revindex"),
}
"""What a value has, by its path; the elements of a list are told by the list's path."""
LISTS: Final = ("issue.labels", "issue.assignees", "issue.blocked_by", "skills")
