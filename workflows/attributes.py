"""Search attributes that runs keep up to date: upserted once a change, never once a step."""

from temporalio import common, workflow

from domain import wire

KIND = common.SearchAttributeKey.for_keyword(wire.SA_KIND)
REPO = common.SearchAttributeKey.for_keyword(wire.SA_REPO)
PHASE = common.SearchAttributeKey.for_keyword(wire.SA_PHASE)
HOLD = common.SearchAttributeKey.for_keyword(wire.SA_HOLD)
AGENT = common.SearchAttributeKey.for_keyword(wire.SA_AGENT)
NEEDS_HUMAN = common.SearchAttributeKey.for_bool(wire.SA_NEEDS_HUMAN)


class Shown:
    """Remembers what Visibility was told last, so that only differences become events."""

    def __init__(self) -> None:
        known = workflow.info().typed_search_attributes
        self._told = (
            known.get(PHASE) or "",
            known.get(HOLD) or "",
            known.get(AGENT) or "",
            bool(known.get(NEEDS_HUMAN)),
        )

    def tell(self, *, phase: str, hold: str, agent: str, needs_human: bool) -> None:
        now = (phase, hold, agent, needs_human)
        if now == self._told:
            return
        self._told = now
        workflow.upsert_search_attributes(
            [
                PHASE.value_set(phase),
                HOLD.value_set(hold) if hold else HOLD.value_unset(),
                AGENT.value_set(agent) if agent else AGENT.value_unset(),
                NEEDS_HUMAN.value_set(needs_human),
            ]
        )


def of_child(kind: str, repo: str, agent: str) -> common.TypedSearchAttributes:
    """What a child starts with, so that it is found beside its parent."""
    return common.TypedSearchAttributes(
        [
            common.SearchAttributePair(KIND, kind),
            common.SearchAttributePair(REPO, repo),
            common.SearchAttributePair(AGENT, agent),
        ]
    )
