"""A whole WORKFLOW.md at once: settings, prompt, and every mistake in the order of its lines."""

from typing import NamedTuple

from domain import errors
from domain.workflow_policy import FILE_NAME, Finding, Source, Workflow, summary
from integrations.workflow_file import document, keys, template


class Parsed(NamedTuple):
    """`workflow` is what could be read; it may be used only when no finding is a mistake."""

    workflow: Workflow
    findings: tuple[Finding, ...]

    @property
    def mistakes(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.is_mistake)


def parse(text: str, source: Source | None = None) -> Parsed:
    """Read a file and check everything in it, the template too. Never raises for what stands in the file."""
    source = source or Source()
    parts = document.split(text)
    workflow, findings = keys.read(parts.front) if parts.front is not None else (Workflow(), [])
    findings += [*parts.findings, *template.check(parts.body, parts.body_line)]
    workflow = workflow.model_copy(update={"prompt": parts.body, "source": source})
    return Parsed(workflow, tuple(sorted(findings, key=lambda f: (f.line, f.column))))


def require(text: str, source: Source | None = None) -> Workflow:
    """The file's settings and prompt.

    Raises:
        WorkflowFileInvalid: it has a mistake.
    """
    parsed = parse(text, source)
    if mistakes := parsed.mistakes:
        raise errors.WorkflowFileInvalid(
            f"{source or FILE_NAME} cannot be used, {summary(mistakes)}: correct it (fettle repo check)",
            code=mistakes[0].code,
        )
    return parsed.workflow
