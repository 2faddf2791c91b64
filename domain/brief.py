"""What the agent is told: the facts a prompt is rendered from, bounded here so that no history carries a book."""

from pydantic import BaseModel, ConfigDict, Field

TITLE_LIMIT = 300
BODY_LIMIT = 20_000
FEEDBACK_LIMIT = 8_000


class Brief(BaseModel):
    """All of it is data. `body` and `feedback` may be anybody's text, and the prompt wraps them as such."""

    model_config = ConfigDict(extra="ignore")

    issue: str = ""
    title: str = ""
    body: str = ""
    author: str = ""
    base_branch: str = ""
    branch: str = ""
    base_tip_sha: str = ""
    """The tip of the base branch when the worktree was prepared: its objects can be read in the clone."""
    verify_command: str = ""
    human_note: str = ""
    learnings: tuple[str, ...] = ()
    reason: str = "initial"
    """Why this turn: initial, review, ci, conflict, edit, safety, verify, or unfinished."""
    feedback: str = ""
    """Only the newest of its kind; earlier feedback was acted on."""
    turn: int = Field(default=1, ge=1)
    url: str = ""
    labels: tuple[str, ...] = ()
    priority: int | None = None
    depends_on: tuple[int, ...] = ()
    """Issues that had to be done before this one."""
    state: str = "open"
    assignees: tuple[str, ...] = ()
    created_at: str = ""
    updated_at: str = ""
    skills: tuple[str, ...] = ()
    """Names that the issue asks for, as `domain.skills` lets them through."""
    template: str = ""
    """The repository's own prompt; empty: Fettle's."""
    template_source: str = ""


def bounded(text: str, limit: int) -> str:
    """The head of a text that is too long, with a note of what was cut; control characters are dropped."""
    clean = "".join(c for c in text if c in "\n\t" or ord(c) >= 32)
    return clean if len(clean) <= limit else f"{clean[:limit]}\n[cut: {len(clean) - limit} more characters]"


def tail(text: str, limit: int) -> str:
    """The end of a log: where the failure is."""
    return text if len(text) <= limit else f"[cut: {len(text) - limit} characters before]\n{text[-limit:]}"
