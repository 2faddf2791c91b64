"""The agents of the pool: types with what their members inherit, instances, and which instance takes a turn."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain import errors

DEV: Final = "dev"
REVIEWER: Final = "reviewer"
MOST_AGENTS: Final = 100
"""The pool is part of one workflow's state: a hundred appendices of the largest size still fit a payload."""
MOST_TYPES: Final = 50
"""They stay, and each has an appendix as well."""
_SHOWN: Final = 100
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"

Name = Annotated[str, Field(pattern=_NAME)]
Word = Annotated[str, Field(max_length=200)]
Appendix = Annotated[str, Field(max_length=4000)]
Label = Annotated[str, Field(min_length=1, max_length=100)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Model = TypeVar("_Model", bound=Model)


class Type(Model):
    """What the members of a type inherit where they say nothing themselves. Empty: the run's or the CLI's own."""

    name: Name
    backend: Word = ""
    model: Word = ""
    image: Word = ""
    prompt_appendix: Appendix = ""


class Instance(Model):
    """One agent. An empty word is inherited from its type."""

    name: Name
    type: Name = DEV
    backend: Word = ""
    model: Word = ""
    prompt_appendix: Appendix = ""
    """Put under a heading of its own after every prompt of this agent."""
    match_labels: tuple[Label, ...] = Field(default=(), max_length=50)
    """Labels of issues that this agent is for. None: for whatever nobody else is for."""
    max_parallel: int = Field(default=0, ge=0, le=1000)
    """Turns at the same time. 0: no limit of its own, the agent hosts' slots alone."""
    image: Word = ""
    """Container image of its turns, where the sandbox level is `container`."""
    paused: bool = False
    notes: str = Field(default="", max_length=2000)


class Kind(enum.StrEnum):
    """What a change does to the pool."""

    ADD = "add"
    EDIT = "edit"
    REMOVE = "remove"
    PAUSE = "pause"
    RESUME = "resume"
    TYPE = "type"
    """Set what a type's members inherit; an unknown name makes a new type."""
    SEED = "seed"
    """The whole pool, from the installation's configuration; taken only while nobody has changed it."""


class Change(Model):
    """An operator's change. `given` are the fields that were named, with their new values."""

    by: str = Field(min_length=1, max_length=200)
    kind: Kind
    name: str = Field(default="", max_length=63)
    given: dict[str, str | int | tuple[str, ...]] = Field(default_factory=dict)
    types: tuple[Type, ...] = ()
    agents: tuple[Instance, ...] = ()


class Choice(BaseModel):
    """The instance that takes the turn, and what the operator should know of the choice."""

    instance: Instance
    group: tuple[str, ...] = ()
    """Names of the instances that would have done as well: a waiting turn waits for any of them."""
    warning: str = ""


class NoAgent(errors.Refused):
    """Nobody in the pool can take the turn, now or later."""


class AllPaused(errors.Refused):
    """Everybody who could take the turn is paused."""


_DEFAULT_TYPES: Final = tuple(Type(name=name) for name in (DEV, REVIEWER))
_DEFAULT_AGENTS: Final = tuple(Instance(name=f"{name}-default", type=name) for name in (DEV, REVIEWER))


class Pool(BaseModel):
    """Everybody there is. It starts with one agent a type that takes whatever the run itself asks for."""

    model_config = ConfigDict(extra="ignore")

    types: tuple[Type, ...] = _DEFAULT_TYPES
    agents: tuple[Instance, ...] = _DEFAULT_AGENTS
    by_hand: bool = False
    """A person has changed it: the configuration counts no more."""
    changed_by: str = ""
    changed_at: datetime | None = None
    served: dict[str, int] = Field(default_factory=dict)
    """When each agent was last chosen, as a count: equals take turns."""

    def agent(self, name: str) -> Instance | None:
        return next((a for a in self.agents if a.name == name), None)

    def type(self, name: str) -> Type:
        return next((t for t in self.types if t.name == name), Type.model_construct(name=name))

    def backend(self, agent: Instance) -> str:
        """The backend that this agent insists on; empty: it takes any."""
        return agent.backend or self.type(agent.type).backend

    def model(self, agent: Instance) -> str:
        return agent.model or self.type(agent.type).model

    def image(self, agent: Instance) -> str:
        return agent.image or self.type(agent.type).image

    def appendix(self, agent: Instance) -> str:
        """The type's and the agent's own."""
        return "\n\n".join(filter(None, (self.type(agent.type).prompt_appendix, agent.prompt_appendix)))

    def choose(self, kind: str, labels: Sequence[str], backend: str, load: Mapping[str, int]) -> Choice:
        """Who takes a turn: most labels in common, then the idle, then the least loaded, then who waited longest.

        Without a common label it goes to an agent without labels, and without one of those to any, with a warning. An
        agent that is at its `max_parallel` may be the answer: a specialist is waited for.

        Args:
            kind: The type that is asked for.
            labels: Of the issue or pull request; compared without regard to case.
            backend: The one that is demanded; empty: any.
            load: Turns under way, by agent.

        Raises:
            NoAgent: no such type, or none of it has the backend.
            AllPaused: those that fit are paused.
        """
        members = [a for a in self.agents if a.type == kind]
        if not members:
            raise NoAgent(f"the pool has no agent of type '{kind}': fettle agents add NAME --type {kind}")
        fitting = [a for a in members if not backend or self.backend(a) in {"", backend}]
        if not fitting:
            have = ", ".join(sorted({self.backend(a) for a in members}))
            raise NoAgent(
                f"the run asks for the backend '{backend}', the agents of type '{kind}' have {have}: add one "
                f"(fettle agents add NAME --type {kind} --backend {backend}), or change the run's (fettle edit)"
            )
        ready = [a for a in fitting if not a.paused]
        if not ready:
            names = ", ".join(a.name for a in fitting)
            raise AllPaused(
                f"{names}: paused by a person, and nobody else fits: fettle agents resume {fitting[0].name}"
            )
        group, warning = self._group(ready, {label.lower() for label in labels})
        order = sorted(group, key=lambda a: (_full(a, load), load.get(a.name, 0), self.served.get(a.name, 0)))
        return Choice(instance=order[0], group=tuple(a.name for a in group), warning=warning)

    def _group(self, ready: Sequence[Instance], labels: set[str]) -> tuple[list[Instance], str]:
        common = {a.name: len(labels & {label.lower() for label in a.match_labels}) for a in ready}
        most = max(common.values())
        if most:
            return [a for a in ready if common[a.name] == most], ""
        if unlabelled := [a for a in ready if not a.match_labels]:
            return unlabelled, ""
        said = ", ".join(sorted(labels)) or "none"
        return list(ready), (
            f"no agent of type '{ready[0].type}' is for these labels ({said}) and none is without labels: one that is "
            "for others was taken"
        )

    def serve(self, name: str) -> None:
        """Remember that this agent was chosen."""
        self.served[name] = max(self.served.values(), default=0) + 1

    def check(self, change: Change) -> None:
        """Raises errors.Refused when the change cannot be made."""
        self.changed(change)

    def apply(self, change: Change, at: datetime) -> None:
        made = self.changed(change)
        self.types, self.agents = made.types, made.agents
        self.by_hand = change.kind is not Kind.SEED
        self.changed_by, self.changed_at = change.by, at
        self.served = {name: count for name, count in self.served.items() if self.agent(name)}

    def changed(self, change: Change) -> "Pool":
        """The pool with the change made.

        Raises:
            errors.Refused: it cannot be made; says what stands against it.
        """
        made = self._changed(change)
        if len(made.types) > max(MOST_TYPES, len(self.types)):
            raise errors.Refused(f"the pool has {len(self.types)} types, {MOST_TYPES} are the most: use one of those")
        return made

    def _changed(self, change: Change) -> "Pool":
        if change.kind is Kind.SEED:
            return self._seeded(change)
        if change.kind is Kind.TYPE:
            made = _built(Type, {**self.type(change.name).model_dump(), "name": change.name, **change.given})
            return self._with(types=(*(t for t in self.types if t.name != change.name), made))
        return self._with_agent(change)

    def _with_agent(self, change: Change) -> "Pool":
        found = self.agent(change.name)
        if change.kind is Kind.ADD:
            if found:
                raise errors.Refused(f"the pool has an agent '{change.name}' already: fettle agents edit {change.name}")
            if len(self.agents) >= MOST_AGENTS:
                raise errors.Refused(f"the pool has {MOST_AGENTS} agents, which is the most: remove one first")
            made = _built(Instance, {**change.given, "name": change.name})
            known = self.types if any(t.name == made.type for t in self.types) else (*self.types, Type(name=made.type))
            return self._with(types=known, agents=(*self.agents, made))
        if found is None:
            names = ", ".join(a.name for a in self.agents) or "nobody"
            raise errors.Refused(f"the pool has no agent '{change.name}', it has {names}: fettle agents list")
        if change.kind is Kind.REMOVE:
            return self._with(agents=tuple(a for a in self.agents if a.name != change.name))
        given: Mapping[str, object] = change.given
        if change.kind in {Kind.PAUSE, Kind.RESUME}:
            given = {"paused": change.kind is Kind.PAUSE}
        made = _built(Instance, {**found.model_dump(), **given, "name": found.name})
        if made == found:
            raise errors.Refused(f"nothing to change on '{change.name}': it is as you ask already")
        return self._with(agents=tuple(made if a.name == found.name else a for a in self.agents))

    def _seeded(self, change: Change) -> "Pool":
        if self.by_hand:
            raise errors.Refused(
                f"the pool was changed by {self.changed_by}, so it is not the configuration's any more: change it with "
                "fettle agents"
            )
        named = {t.name for t in change.types}
        types = (*(t for t in _DEFAULT_TYPES if t.name not in named), *change.types)
        members = {a.type for a in change.agents}
        agents = (*change.agents, *(a for a in _DEFAULT_AGENTS if a.type not in members))
        if len({a.name for a in agents}) < len(agents):
            raise errors.Refused("the configured pool names an agent twice: give each a name of its own")
        types = (*types, *(Type(name=name) for name in sorted(members - {t.name for t in types})))
        if (types, agents) == (self.types, self.agents):
            raise errors.Refused("the pool is as configured already: nothing to change")
        return self._with(types=types, agents=agents)

    def _with(self, **fields: object) -> "Pool":
        return self.model_copy(update=fields)


class File(Model):
    """The pool as a configuration file says it."""

    types: tuple[Type, ...] = Field(default=(), max_length=MOST_TYPES - len(_DEFAULT_TYPES))
    agents: tuple[Instance, ...] = Field(default=(), max_length=MOST_AGENTS)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "File":
        for what, names in (("agent", [a.name for a in self.agents]), ("type", [t.name for t in self.types])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{', '.join(twice)} is there twice: give each {what} a name of its own")
        return self


def _full(agent: Instance, load: Mapping[str, int]) -> bool:
    return bool(agent.max_parallel) and load.get(agent.name, 0) >= agent.max_parallel


def free(agent: Instance, load: Mapping[str, int]) -> int | None:
    """Turns that the agent could begin now; None: no limit."""
    return max(0, agent.max_parallel - load.get(agent.name, 0)) if agent.max_parallel else None


def _built(model: type[_Model], fields: Mapping[str, object]) -> _Model:
    """Raises errors.Refused with the field and what is wrong with it."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as invalid:
        what = model.__name__.lower()
        raise errors.Refused(f"this {what} cannot be in the pool: {problems(invalid)}") from invalid


def problems(invalid: ValidationError) -> str:
    """What is wrong with which value, in one line."""
    found = invalid.errors(include_url=False)
    return "; ".join(f"'{'.'.join(map(str, p['loc']))}' is {_short(p['input'])}: {p['msg']}" for p in found)


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}… ({len(words)} characters)"
