"""Who takes a turn, and what an operator may change of the pool."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import errors, roster
from domain.roster import Change, Instance, Kind, Pool, Type


def pool(*agents: Instance, types: tuple[Type, ...] = (Type(name="dev"),)) -> Pool:
    return Pool(types=types, agents=agents)


def chosen(p: Pool, *labels: str, backend: str = "", **load: int) -> str:
    return p.choose("dev", labels, backend, {name.replace("_", "-"): n for name, n in load.items()}).instance.name


def changed(p: Pool, kind: Kind, name: str, **given: object) -> Pool:
    return p.changed(Change.model_validate({"by": "ann", "kind": kind, "name": name, "given": given}))


def test_a_new_fleet_has_one_agent_a_type_that_takes_what_the_run_asks_for() -> None:
    fresh = Pool()
    assert [(a.name, a.type, a.backend, a.max_parallel) for a in fresh.agents] == [
        ("dev-default", "dev", "", 0),
        ("reviewer-default", "reviewer", "", 0),
    ]
    assert chosen(fresh, "anything", backend="codex", dev_default=99) == "dev-default"


def test_the_most_common_labels_win_even_over_an_idle_agent() -> None:
    p = pool(
        Instance(name="plain"),
        Instance(name="one", match_labels=("Security",)),
        Instance(name="two", match_labels=("security", "api")),
    )
    assert chosen(p, "SECURITY", "api", "docs", two=5) == "two"
    assert chosen(p, "security", two=5) == "one"


def test_among_equals_the_idle_then_the_least_loaded_goes() -> None:
    p = pool(Instance(name="a"), Instance(name="b"), Instance(name="c"))
    assert chosen(p, a=1, b=0, c=1) == "b"
    assert chosen(p, a=2, b=3, c=1) == "c"


def test_an_agent_with_a_free_place_goes_before_a_less_loaded_full_one() -> None:
    p = pool(Instance(name="small", max_parallel=1), Instance(name="big", max_parallel=9))
    assert chosen(p, small=1, big=3) == "big"


def test_equals_take_turns() -> None:
    p = pool(Instance(name="a"), Instance(name="b"), Instance(name="c"))
    order = []
    for _ in range(6):
        order.append(chosen(p))
        p.serve(order[-1])
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_an_agent_without_labels_takes_what_is_for_nobody() -> None:
    p = pool(Instance(name="expert", match_labels=("security",)), Instance(name="plain"))
    found = p.choose("dev", ("docs",), "", {})
    assert (found.instance.name, found.warning) == ("plain", "")


def test_without_an_unlabelled_agent_any_goes_with_a_warning() -> None:
    p = pool(Instance(name="expert", match_labels=("security",)))
    found = p.choose("dev", ("docs",), "", {})
    assert found.instance.name == "expert"
    assert "(docs)" in found.warning


def test_a_paused_specialist_leaves_its_work_to_the_others() -> None:
    p = pool(Instance(name="expert", match_labels=("security",), paused=True), Instance(name="plain"))
    assert chosen(p, "security") == "plain"


def test_with_everybody_paused_the_turn_waits_and_says_who() -> None:
    with pytest.raises(roster.AllPaused, match="fettle agents resume a"):
        chosen(pool(Instance(name="a", paused=True), Instance(name="b", type="reviewer")))


def test_a_demanded_backend_is_never_changed() -> None:
    p = pool(Instance(name="c", backend="claude"), Instance(name="any"), Instance(name="x", backend="codex"))
    assert chosen(p, backend="codex", any=1) == "x"
    assert chosen(p, backend="gemini") == "any"
    with pytest.raises(roster.NoAgent, match=r"'gemini'.*claude"):
        chosen(pool(Instance(name="c", backend="claude")), backend="gemini")


def test_a_type_without_agents_is_refused_in_words() -> None:
    with pytest.raises(roster.NoAgent, match="fettle agents add NAME --type planner"):
        Pool().choose("planner", (), "", {})


def test_an_empty_word_is_inherited_and_appendices_add_up() -> None:
    p = pool(
        Instance(name="a", prompt_appendix="Small steps."),
        types=(Type(name="dev", backend="codex", model="big", image="img", prompt_appendix="House rules."),),
    )
    (a,) = p.agents
    assert (p.backend(a), p.model(a), p.image(a)) == ("codex", "big", "img")
    assert p.appendix(a) == "House rules.\n\nSmall steps."


def test_adding_editing_pausing_and_removing() -> None:
    p = changed(Pool(), Kind.ADD, "sec", type="auditor", match_labels=["security"], max_parallel=2)
    assert "auditor" in {t.name for t in p.types}
    p = changed(p, Kind.EDIT, "sec", model="opus")
    p = changed(p, Kind.PAUSE, "sec")
    agent = p.agent("sec")
    assert agent is not None
    assert (agent.model, agent.match_labels, agent.paused) == ("opus", ("security",), True)
    assert changed(changed(p, Kind.RESUME, "sec"), Kind.REMOVE, "sec").agent("sec") is None


def test_a_type_can_be_set_and_made() -> None:
    p = changed(changed(Pool(), Kind.TYPE, "dev", model="opus"), Kind.TYPE, "dev", image="img")
    assert p.type("dev") == Type(name="dev", model="opus", image="img")


@pytest.mark.parametrize(
    ("kind", "name", "given", "words"),
    [
        (Kind.ADD, "dev-default", {}, "already"),
        (Kind.ADD, "Not A Name", {}, "'name' is 'Not A Name'"),
        (Kind.ADD, "x", {"max_parallel": -1}, "'max_parallel' is -1"),
        (Kind.ADD, "x", {"modle": "opus"}, "'modle'"),
        (Kind.EDIT, "ghost", {"model": "x"}, "no agent 'ghost'"),
        (Kind.EDIT, "dev-default", {}, "nothing to change"),
        (Kind.PAUSE, "ghost", {}, "dev-default, reviewer-default"),
        (Kind.RESUME, "dev-default", {}, "nothing to change"),
        (Kind.REMOVE, "ghost", {}, "no agent 'ghost'"),
        (Kind.TYPE, "dev", {"prompt_appendix": "x" * 4001}, "'prompt_appendix'"),
    ],
)
def test_a_wrong_change_is_refused_with_what_is_wrong(
    kind: Kind, name: str, given: dict[str, object], words: str
) -> None:
    with pytest.raises(errors.Refused, match=words):
        changed(Pool(), kind, name, **given)


def test_the_configuration_counts_until_a_person_changes_the_pool() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    p = Pool()
    seed = Change(by="configuration", kind=Kind.SEED, agents=(Instance(name="one", backend="codex"),))
    p.apply(seed, at)
    assert [a.name for a in p.agents] == ["one", "reviewer-default"]
    with pytest.raises(errors.Refused, match="as configured already"):
        p.check(seed)
    p.apply(seed.model_copy(update={"agents": (Instance(name="two"),)}), at)
    p.apply(Change(by="ann", kind=Kind.PAUSE, name="two"), at)
    with pytest.raises(errors.Refused, match="changed by ann"):
        p.check(seed)


def test_a_full_pool_takes_no_more() -> None:
    full = pool(*(Instance(name=f"a{n}") for n in range(roster.MOST_AGENTS)))
    with pytest.raises(errors.Refused, match="which is the most"):
        changed(full, Kind.ADD, "one-more")


def test_types_which_stay_are_not_made_without_end() -> None:
    full = pool(types=tuple(roster.Type(name=f"t{n}") for n in range(roster.MOST_TYPES)))
    with pytest.raises(errors.Refused, match="the most"):
        changed(full, Kind.TYPE, "one-more", model="opus")
    with pytest.raises(errors.Refused, match="the most"):
        changed(full, Kind.ADD, "somebody", type="one-more")
    assert changed(full, Kind.TYPE, "t1", model="opus").type("t1").model == "opus"


_LABELS = st.lists(st.sampled_from(["a", "b", "c"]), unique=True)
_AGENTS = st.lists(
    st.builds(
        lambda n, labels, paused, most: Instance(
            name=f"i{n}", match_labels=tuple(labels), paused=paused, max_parallel=most
        ),
        st.integers(0, 9),
        _LABELS,
        st.booleans(),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda a: a.name,
)


@given(_AGENTS, _LABELS, st.dictionaries(st.sampled_from([f"i{n}" for n in range(10)]), st.integers(0, 4)))
def test_whoever_is_chosen_is_ready_and_nobody_fits_better(
    agents: list[Instance], labels: list[str], load: dict[str, int]
) -> None:
    p = pool(*agents)
    ready = [a for a in agents if not a.paused]
    if not ready:
        with pytest.raises(roster.AllPaused):
            p.choose("dev", labels, "", load)
        return
    found = p.choose("dev", labels, "", load)
    assert not found.instance.paused
    common = {a.name: len(set(labels) & set(a.match_labels)) for a in ready}
    most = max(common.values())
    assert common[found.instance.name] == most
    assert bool(found.warning) == (not most and all(a.match_labels for a in ready))
    peers = [a for a in ready if a.name in found.group]
    places = [roster.free(a, load) for a in peers]
    assert roster.free(found.instance, load) != 0 or all(place == 0 for place in places)
