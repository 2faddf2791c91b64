"""The words of a turn: its task, and what is true when a conversation was interrupted or had to begin again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from activities import turn_facts
from domain import agent, errors
from integrations import prompts

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

    def task(self, request: agent.TurnRequest) -> str:
        """The turn as it was asked for.

        Raises:
            ConfigurationError: the request has neither a prompt nor a brief.
        """
        if request.prompt:
            return request.prompt
        if request.brief is None:
            raise errors.ConfigurationError(
                f"turn {request.round} of {request.run} has neither a prompt nor a brief: give one of them"
            )
        facts = request.brief.model_dump()
        head = self.library.front_matter("implement")
        return self.library.render("implement", {name: facts[name] for name in head.inputs if name in facts}).text

    def resumed(self, request: agent.TurnRequest, lost: Interruption) -> str:
        """To the same conversation, in the middle of its turn."""
        more = {"reason": _INTERRUPTED, "unfinished": "\n".join(lost.calls), "elsewhere": lost.elsewhere}
        return self.library.render("resume", {**self._ground(request, lost), **more}).text

    def restarted(self, request: agent.TurnRequest, lost: Interruption) -> str:
        """To a new conversation, about work that an earlier one has begun."""
        return self.library.render("restart", {**self._ground(request, lost), "calls": "\n".join(lost.calls)}).text

    def _ground(self, request: agent.TurnRequest, lost: Interruption) -> Mapping[str, object]:
        return {
            "task": self.task(request),
            "facts_known": lost.facts.known,
            "last_commit": lost.facts.last_commit,
            "uncommitted": lost.facts.uncommitted,
        }
