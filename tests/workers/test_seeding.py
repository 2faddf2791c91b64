"""The configuration's pool and budgets: taken by a fleet that nobody has changed, read strictly."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from domain import budget, errors, roster
from tests.workflows import installation, pool_world
from tests.workflows.pool_world import Fleet
from workers import seeding, settings

POOL = """
[[types]]
name = "dev"
backend = "codex"

[[agents]]
name = "security"
match_labels = ["security"]
max_parallel = 2

[[agents]]
name = "everything-else"
"""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        pool_world.running(await installation.connect(env), tmp_path) as started,
    ):
        yield started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agents.toml"
    path.write_text(POOL)
    return path


def told(tmp_path: Path, **given: object) -> settings.Settings:
    return settings.load(state_dir=tmp_path / "state", **given)


async def test_an_untouched_fleet_takes_the_configuration_and_keeps_it_up_to_date(
    fleet: Fleet, tmp_path: Path, file: Path
) -> None:
    await seeding.seed(fleet.temporal, told(tmp_path, agents_file=file, budget_day_usd=50, budget_run_usd=5))
    state = await fleet.state()
    assert [a.name for a in state.pool.agents] == ["security", "everything-else", "reviewer-default"]
    assert state.pool.type("dev").backend == "codex"
    assert state.book.limits == budget.Limits(day_usd=50, run_usd=5)
    before = await fleet.length()
    await seeding.seed(fleet.temporal, told(tmp_path, agents_file=file, budget_day_usd=50, budget_run_usd=5))
    assert await fleet.length() == before, "a second start changes nothing"
    await seeding.seed(fleet.temporal, told(tmp_path, agents_file=file, budget_day_usd=60))
    assert (await fleet.state()).book.limits == budget.Limits(day_usd=60)


async def test_what_a_person_has_changed_stays(fleet: Fleet, tmp_path: Path, file: Path) -> None:
    await fleet.agents(roster.Kind.ADD, "mine")
    await fleet.budgets(limits={"day_usd": 7.0})
    before = await fleet.length()
    await seeding.seed(fleet.temporal, told(tmp_path, agents_file=file, budget_day_usd=50))
    assert await fleet.length() == before
    state = await fleet.state()
    assert state.pool.agent("security") is None
    assert state.book.limits.day_usd == 7


async def test_an_installation_that_names_nothing_tells_nothing(fleet: Fleet, tmp_path: Path) -> None:
    before = await fleet.length()
    await seeding.seed(fleet.temporal, told(tmp_path))
    assert await fleet.length() == before


async def test_a_fleet_that_is_not_there_stops_no_worker(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.handle.terminate("by a test")
    await seeding.seed(fleet.temporal, told(tmp_path, budget_day_usd=50))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[agents]]\nname = 'x'\nmodle = 'opus'\n", "'agents.0.modle'"),
        ("[[agents]]\nname = 'x'\n[[agents]]\nname = 'x'\n", "x is there twice"),
        ("[[types]]\nname = 'x'\n[[types]]\nname = 'x'\nmodel = 'y'\n", "x is there twice"),
        ("[[agents]]\nname = 'Big Name'\n", "'agents.0.name' is 'Big Name'"),
        ("[[agents]]\nname = 'x'\nbackend = 'cluade'\n", "names the backend cluade, the known ones are claude"),
        ("agents = ", "is not TOML"),
        ("[pool]\n", "'pool'"),
        ("\udcff", "is not TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name_and_what_is_wrong(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "agents.toml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(errors.ConfigurationError) as refused:
        seeding.read(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
