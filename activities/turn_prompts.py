"""The words of a turn: its task, and what is true when a conversation was interrupted or had to begin again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from activities import turn_facts
from domain import agent, code_graph, errors
from integrations import prompts, turn_prompt

_INTERRUPTED = "its worker was stopped or lost"


@dataclass(frozen=True)
class Interruption:
    """What is known of the process that was lost."""

    facts: turn_facts.Facts
    calls: tuple[str, ...] = ()
    """Calls whose answers were due; for a new conversation the last calls of the old one."""
    elsewhere: bool = False
    """It was lost with another host."""


@dataclass(frozen=True)
class Words:
    library: prompts.Library = field(default_factory=prompts.Library)

    def task(self, request: agent.TurnRequest, *, resume: bool, code: code_graph.Map | None = None) -> str:
        """The turn as it was asked for. A conversation that goes on is told the news alone, when that was asked for.

        Args:
            request: The turn.
            resume: The conversation goes on.
            code: For a conversation that begins: where to look.

        Raises:
            ConfigurationError: the request has neither a prompt nor a brief.
            TemplateFailed: the repository's prompt cannot be filled in.
        """
        if request.prompt:
            return request.prompt
        if request.brief is None:
            raise errors.ConfigurationError(
                f"turn {request.round} of {request.run} has neither a prompt nor a brief: give one of them"
            )
        continuation = request.continuation and resume
        return turn_prompt.render(self.library, request.brief, continuation=continuation, code=code).text

    def resumed(self, request: agent.TurnRequest, lost: Interruption) -> str:
        """To the same conversation, in the middle of its turn."""
        more = {"reason": _INTERRUPTED, "unfinished": "\n".join(lost.calls), "elsewhere": lost.elsewhere}
        return self.library.render("resume", {**self._ground(request, lost, resume=True), **more}).text

    def restarted(self, request: agent.TurnRequest, lost: Interruption, code: code_graph.Map | None = None) -> str:
        """To a new conversation, about work that an earlier one has begun."""
        ground = self._ground(request, lost, resume=False, code=code)
        return self.library.render("restart", {**ground, "calls": "\n".join(lost.calls)}).text

    def _ground(
        self, request: agent.TurnRequest, lost: Interruption, *, resume: bool, code: code_graph.Map | None = None
    ) -> Mapping[str, object]:
        return {
            "task": self.task(request, resume=resume, code=code),
            "facts_known": lost.facts.known,
            "last_commit": lost.facts.last_commit,
            "uncommitted": lost.facts.uncommitted,
        }
