"""A spec becomes issues: what is asked, proposed, planned and filed, and the words that it gets on the forge. Pure."""

import enum
import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import refs, triage
from domain.brief import bounded

MOST_ISSUES: Final = 15
"""New issues of one breakdown. More are not read by anybody before they are worked on; the next breakdown goes on."""
MOST_ITEMS: Final = 60
SPEC_LIMIT: Final = 60_000
"""Characters: the text is the input of a workflow, and what a model reads at once."""
TITLE_LIMIT: Final = 200
BODY_LIMIT: Final = 8_000
MARK: Final = "breakdown:"


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Proposal(Model):
    """One issue as a model proposes it. `depends_on` counts the proposals before it from 1, so no circle can arise."""

    title: str
    body: str = ""
    labels: tuple[str, ...] = ()
    depends_on: tuple[int, ...] = ()


class Advice(Model):
    """What a model may say in a breakdown. Everything else that it writes is dropped."""

    issues: tuple[Proposal, ...]
    left_out: tuple[str, ...] = ()
    """Parts of the spec that are no work, in its words."""


class Item(Model):
    """One proposed issue. `key` names it for ever: it is made of the title, and found again on the forge."""

    key: str
    title: str
    body: str = ""
    labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    """Keys of items of the same draft."""
    issues: tuple[int, ...] = ()
    """Numbers of issues outside of the draft that the text names as dependencies."""


class Draft(Model):
    """What a spec holds, before anybody looked at the repository. `digest` is that of the spec's text."""

    items: tuple[Item, ...] = ()
    by: str = "rules"
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    digest: str = ""


class Request(Model):
    """What is asked of a breakdown. `apply` False writes no issue."""

    repo: refs.Repository
    spec: str
    """The spec's file name: with the repository it names the breakdown."""
    text: str
    apply: bool = False
    most: int = Field(default=MOST_ISSUES, ge=1, le=MOST_ISSUES)
    labels: tuple[str, ...] = ()
    """Labels that a person asked for on every new issue; these may start and steer runs."""
    tracking: int = 0
    """An issue that keeps the checklist as one comment; 0: none."""
    asked_by: str = ""
    draft: Draft | None = None
    """What an earlier breakdown of the same text proposed: then it is filed as it was shown."""


class Known(Model):
    """An issue of the repository. `key` is ours, and only where we wrote the issue."""

    number: int
    title: str = ""
    open: bool = True
    url: str = ""
    key: str = ""


class Standing(enum.StrEnum):
    NEW = "new"
    EXISTS = "exists"
    LATER = "later"
    """Beyond the cap: the next breakdown takes it up."""


class Planned(Item):
    """An item against the repository as it is. `number` 0: there is no such issue yet."""

    standing: Standing = Standing.NEW
    number: int = 0
    url: str = ""
    open: bool = True
    made: bool = False
    """This breakdown has filed it."""


class Plan(Model):
    """Items in the order in which they can be worked on."""

    items: tuple[Planned, ...] = ()
    warnings: tuple[str, ...] = ()
    left_over: tuple[int, ...] = ()
    """Open issues that an earlier breakdown of this spec filed, and that it no longer holds."""
    looked_at: datetime | None = None

    @property
    def new(self) -> tuple[Planned, ...]:
        return tuple(item for item in self.items if item.standing is Standing.NEW)

    def numbers(self) -> dict[str, int]:
        """Issue numbers by key, of everything that exists."""
        return {item.key: item.number for item in self.items if item.number}

    def with_filed(self, key: str, *, number: int, url: str, made: bool) -> "Plan":
        """The plan after one of its items was filed, or found to be."""
        there = {"number": number, "url": url, "standing": Standing.EXISTS, "made": made}
        items = tuple(item.model_copy(update=there) if item.key == key else item for item in self.items)
        return self.model_copy(update={"items": items})


class Outcome(Model):
    """How a breakdown ended; while it works, how far it is. `refusal` says why nothing was done."""

    repo: refs.Repository
    spec: str
    applied: bool = False
    draft: Draft | None = None
    plan: Plan | None = None
    checklist_url: str = ""
    refusal: str = ""


def workflow_id(repo: refs.Repository, spec: str) -> str:
    return f"breakdown/{repo}/{_spec_slug(spec)}"


def issue_key(spec: str, key: str) -> str:
    """The key under which an item's issue is found on the forge."""
    return f"{MARK}{_spec_slug(spec)}/{key}"


def checklist_key(spec: str) -> str:
    return f"{MARK}{_spec_slug(spec)}"


def item_key(title: str) -> str:
    """The same for titles that differ in case, spaces and closing punctuation only. It shows nothing of the title,
    which others wrote and which is masked where it is published."""
    return hashlib.sha256(normal(title).encode()).hexdigest()[:16]


def normal(title: str) -> str:
    return " ".join(title.split()).casefold().rstrip(".:;! ")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def refusal_of(text: str) -> str:
    """Why this text cannot be broken down; empty when it can."""
    if not text.strip():
        return "the spec is empty, issues come from its checkboxes, sections or list items: write at least one"
    if len(text) > SPEC_LIMIT:
        return f"the spec has {len(text)} characters, the limit is {SPEC_LIMIT}: split it into several files"
    return ""


def from_advice(advice: Advice, text: str, *, by: str) -> Draft:
    """A model's proposals, freed of everything that a breakdown does not take from a model. May come out empty."""
    keys: list[str] = []
    items: dict[str, Item] = {}
    warnings: list[str] = []
    for position, proposal in enumerate(advice.issues[:MOST_ITEMS], 1):
        title = " ".join(proposal.title.split())[:TITLE_LIMIT]
        keys.append(item_key(title) if title else "")
        if not title or keys[-1] in items:
            continue
        earlier = [n for n in dict.fromkeys(proposal.depends_on) if 0 < n < position and keys[n - 1] in items]
        if dropped := [n for n in proposal.depends_on if n not in earlier]:
            warnings.append(f"'{title}' was to depend on {listed(dropped)}, which is no proposal before it: left out")
        items[keys[-1]] = Item(
            key=keys[-1],
            title=title,
            body=bounded(without_dependencies(proposal.body), BODY_LIMIT).strip(),
            labels=proposal.labels[:10],
            depends_on=tuple(keys[n - 1] for n in earlier),
            issues=named_issues(proposal.body),
        )
    if len(advice.issues) > MOST_ITEMS:
        warnings.append(f"{len(advice.issues)} issues were proposed, {MOST_ITEMS} are read: split the spec")
    return Draft(
        items=tuple(items.values()), by=by, left_out=advice.left_out[:50], warnings=tuple(warnings), digest=digest(text)
    )


def named_issues(text: str) -> tuple[int, ...]:
    """The issues that a run would wait for when this was its issue's text. Read line by line, as it is written."""
    found = (triage.by_rules(_ANYWHERE.issue(0), line, ()).depends_on for line in text.splitlines())
    return tuple(dict.fromkeys(number for numbers in found for number in numbers))


def without_dependencies(text: str) -> str:
    """The text without the lines that name issues to wait for: they are written anew from what is known."""
    return "\n".join(line for line in text.splitlines() if not named_issues(line))


def body(item: Planned, plan: Plan, *, spec: str) -> str:
    """The issue's text. Its dependencies stand in a line of their own, as a run reads them."""
    numbers = plan.numbers()
    waits = sorted({*item.issues, *(numbers[key] for key in item.depends_on if key in numbers)})
    position = next(at for at, other in enumerate(plan.items, 1) if other.key == item.key)
    parts = [item.body] if item.body else []
    if waits:
        parts.append(f"Depends on {listed(waits, '#')}")
    parts.append(f"---\n_{position} of {len(plan.items)} in the order of work of `{spec}`. Filed by Fettle._")
    return "\n\n".join(parts)


def checklist(outcome: Outcome) -> str:
    """The breakdown as a comment: what exists is linked and ticked when it is closed."""
    plan = outcome.plan or Plan()
    titles = {item.key: item.title for item in plan.items}
    state = "filed" if outcome.applied else "proposed, nothing is filed yet"
    lines = [f"Breakdown of `{outcome.spec}`, in the order of work ({state}):", ""]
    for item in plan.items:
        after = [f"“{titles[key]}”" for key in item.depends_on if key in titles]
        after += [f"#{number}" for number in item.issues]
        name = f"#{item.number} {item.title}" if item.number else item.title
        done = "x" if item.number and not item.open else " "
        waits = f" (after {', '.join(after)})" if after else ""
        lines.append(f"- [{done}] {name}{waits}")
    lines += ["", *(f"- {warning}" for warning in plan.warnings[:20])] if plan.warnings else []
    return "\n".join(lines)


def _spec_slug(spec: str) -> str:
    """Readable, and different for names that differ in more than case."""
    plain = re.fullmatch(r"[A-Za-z0-9]{1,40}(?:-[A-Za-z0-9]{1,40}){0,5}\.md", spec)
    mark = "" if plain else f"-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"
    return f"{refs.slug(spec.removesuffix('.md'), 60)}{mark}".lstrip("-")


def listed(numbers: Iterable[int], sign: str = "") -> str:
    return ", ".join(f"{sign}{number}" for number in numbers)


_ANYWHERE: Final = refs.Repository(owner="any", name="any")
