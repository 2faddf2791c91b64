"""The words of a turn around its prompt: a pool instance's appendix, and questions for CLIs that cannot defer a call.

A CLI that has no way to hold one call back asks in two phases: it may only read, and its plan is the question; a yes
starts a second run of the same session with its full rights.
"""

import dataclasses
from typing import Final

from domain import agent, brief
from integrations.agent import port

PLAN: Final = "plan"
"""The tool that a plan's question names."""


def prompt(request: agent.TurnRequest) -> str:
    """The prompt with the instance's appendix under a heading of its own. A continuation has heard it before."""
    if not request.appendix.strip() or request.continuation:
        return request.prompt
    return f"{request.prompt}\n\n## Instructions for this agent\n\n{request.appendix.strip()}\n"


def plans_first(request: agent.TurnRequest) -> bool:
    """Whether this process may only read, because a person has not yet agreed to its plan."""
    asks = bool(request.ask_tools) and request.autonomy is not agent.Autonomy.PLAN
    return asks and not (request.answer is not None and request.answer.allow)


def two_phase_prompt(request: agent.TurnRequest) -> str:
    """The prompt of one of the two phases; the plain one where nothing is asked."""
    text = prompt(request)
    if not request.ask_tools or request.autonomy is agent.Autonomy.PLAN:
        return text
    word = request.answer
    said = f" {word.by} says: {word.note}" if word is not None and word.note else ""
    if word is not None and word.allow:
        begin = f"Your plan was approved by {word.by}. Carry it out now, and nothing that is not in it.{said}"
        return f"{begin}\n\n{text}" if text else begin
    rule = (
        "You may only read now. Make a plan and end with it: which files you will change and which commands you will "
        f"run. Name each of these that you need, a person decides about them: {', '.join(request.ask_tools)}."
    )
    if word is not None:
        begin = f"Your plan was not approved by {word.by}.{said} {rule}"
        return f"{begin}\n\n{text}" if text else begin
    return f"{text}\n\n## Plan first\n\n{rule}\n"


def plan_question(verdict: port.Verdict, request: agent.TurnRequest | None) -> port.Verdict:
    """A finished plan phase is a question; every other verdict stays as it is."""
    if request is None or verdict.outcome is not agent.Outcome.FINISHED or not plans_first(request):
        return verdict
    plan = brief.bounded(verdict.summary, agent.QUESTION_KEPT)
    question = agent.Question(id=f"{PLAN}-{request.session.id}-{request.round}", tool=PLAN, text=plan)
    return dataclasses.replace(verdict, outcome=agent.Outcome.NEEDS_APPROVAL, question=question)
