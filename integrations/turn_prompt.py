"""The prompt of an agent's turn: Fettle's own, the repository's, or only what is new in a conversation that goes on."""

from domain import code_graph
from domain.brief import Brief
from integrations import prompts
from integrations.workflow_file import task, template


def render(
    library: prompts.Library,
    brief: Brief,
    *,
    continuation: bool = False,
    code: code_graph.Map | None = None,
) -> prompts.Rendered:
    """The text of one turn.

    Args:
        library: The prompts of this release.
        brief: The facts of the turn; its `template`, when there is one, takes the place of Fettle's own instructions.
        continuation: The session knows the task: it gets the news of this turn alone, and the task is not said again.
        code: Where to look, or why that is not known; a continuation does not say it again. None: nothing is said.

    Raises:
        TemplateFailed: the repository's template cannot be filled in with this task.
        ConfigurationError: a prompt of the library is malformed.
    """
    name = "continue" if continuation else "workflow" if brief.template.strip() else "implement"
    code = code or code_graph.Map()
    inputs = {**brief.model_dump(), **{f"code_{name}": value for name, value in code.model_dump().items()}}
    if name == "workflow":
        inputs["instructions"] = template.render(
            brief.template, task_of(brief), brief.template_source or "the repository's template"
        )
    return library.render(name, {key: inputs[key] for key in library.front_matter(name).inputs})


def task_of(brief: Brief) -> task.Task:
    """The brief in the words of a template. `attempt` is none on the first turn, then counts from 1."""
    repository, _, number = brief.issue.partition("#")
    return task.Task(
        repository=repository,
        number=int(number) if number.isdigit() else 0,
        title=brief.title,
        body=brief.body,
        author=brief.author,
        url=brief.url,
        state=brief.state,
        labels=brief.labels,
        assignees=brief.assignees,
        blocked_by=brief.depends_on,
        priority=brief.priority,
        created_at=brief.created_at,
        updated_at=brief.updated_at,
        attempt=brief.turn - 1 or None,
        branch=brief.branch,
        base_branch=brief.base_branch,
        verify_command=brief.verify_command,
        skills=brief.skills,
    )
