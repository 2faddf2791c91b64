"""What an issue is and what it waits for: rules first, a model only advises."""

import re

from pydantic import BaseModel, ConfigDict, Field

from domain import refs, wire

_LISTED = r"#[\d#, \t]*(?:(?:and|&)[ \t]{1,20}#[\d#, \t]*){0,50}"
_DEPENDS = re.compile(
    # Bounded: anybody's text is read here, in a workflow task that must end soon. A further line belongs to the list
    # only when it holds nothing else.
    r"^[^\w\n]{0,40}(?:depends on|blocked by|needs)\b[:\s*_-]{0,20}"
    rf"(?P<list>{_LISTED}(?:\r?\n[ \t]{{0,20}}(?:[*-][ \t]{{1,20}})?{_LISTED}(?=\r?$)){{0,50}})",
    re.I | re.M,
)
_AGENT_LABEL = "fettle-agent-"
_MODEL_LABEL = "fettle-model-"
_PRIORITY_LABEL = re.compile(r"^(?:priority|p)[-:/ ]?([1-5])$", re.I)
DEFAULT_PRIORITY = 3
MOST_DEPENDENCIES = 50


class Triage(BaseModel):
    """Where an issue goes. `agent` and `model` empty: the repository's default."""

    model_config = ConfigDict(extra="ignore")

    agent: str = ""
    model: str = ""
    priority: int = Field(default=DEFAULT_PRIORITY, ge=1, le=5)
    depends_on: tuple[int, ...] = ()
    not_waited_for: int = 0
    """How many more the body names than a run waits for: each costs calls of the forge at every look."""
    reason: str = ""
    by: str = "rules"


class Advice(BaseModel):
    """What a model may say in triage: only what to prefer, never what to do. Anything else it writes is dropped."""

    model_config = ConfigDict(extra="ignore")

    priority: int = Field(default=DEFAULT_PRIORITY, ge=1, le=5)
    reason: str = Field(default="", max_length=500)


def by_rules(issue: refs.Issue, body: str, labels: tuple[str, ...]) -> Triage:
    """Labels choose agent, model and priority; lines like `Depends on #3, #4` in the body name dependencies.

    An issue that names itself is not its own dependency. Labels are set by people with triage permission, the body by
    anybody: so the body can only make a run wait, never choose what runs.
    """
    found: list[int] = []
    for match in _DEPENDS.finditer(body):
        for number in re.findall(r"#(\d{1,9})", match["list"]):
            if int(number) != issue.number and int(number) not in found:
                found.append(int(number))
    chosen_agent = next((label.removeprefix(_AGENT_LABEL) for label in labels if label.startswith(_AGENT_LABEL)), "")
    chosen_model = next((label.removeprefix(_MODEL_LABEL) for label in labels if label.startswith(_MODEL_LABEL)), "")
    if not chosen_model and "opus" in labels:
        chosen_model = "opus"
    priorities = [int(m[1]) for label in labels if (m := _PRIORITY_LABEL.match(label))]
    return Triage(
        agent=chosen_agent,
        model=chosen_model,
        priority=min(priorities, default=DEFAULT_PRIORITY),
        depends_on=tuple(found[:MOST_DEPENDENCIES]),
        not_waited_for=max(0, len(found) - MOST_DEPENDENCIES),
        reason="labels and body",
    )


def may_start(labels: tuple[str, ...], *, is_open: bool) -> bool:
    """Only the trigger label starts a run. It is taken off when a run claims the issue and stays off when the run
    ends, so a cancelled or failed issue is picked up again only when a person sets the label again."""
    return is_open and wire.LABEL_TRIGGER in labels


def advised(found: Triage, advice: Advice) -> Triage:
    """Rules with a model's advice: it may raise or lower the priority, unless a label has set it."""
    if found.priority != DEFAULT_PRIORITY:
        return found
    return found.model_copy(update={"priority": advice.priority, "reason": advice.reason, "by": "model"})
