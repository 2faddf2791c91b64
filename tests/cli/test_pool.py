"""Agents, budgets and costs from the command line, in front of a real fleet and a real ledger."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from cli import budgets, failures
from domain import refs, roster
from domain.pool import EndTurn
from store import engine
from tests.cli.world import Said, asay, say
from tests.workflows import installation, pool_world
from tests.workflows.pool_world import Fleet


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    async with await WorkflowEnvironment.start_local(**installation.server()) as env:
        client = await installation.connect(env)
        monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
        monkeypatch.setenv("FETTLE_OPERATOR", "ann")
        async with pool_world.running(client, tmp_path) as started:
            yield started


async def done(*words: str) -> Said:
    found = await asay(*words)
    assert found.code == 0, found.err
    return found


async def refused(*words: str, code: int = 1) -> str:
    found = await asay(*words)
    assert (found.code, found.out) == (code, "")
    return found.err


async def test_a_new_fleet_lists_one_agent_a_type(fleet: Fleet) -> None:
    listed = (await done("agents", "list", "--json")).json
    assert [(a["name"], a["type"], a["backend"], a["runs"]) for a in listed] == [
        ("dev-default", "dev", "", []),
        ("reviewer-default", "reviewer", "", []),
    ]
    assert "dev-default" in (await done("agents", "list")).out


async def test_an_agent_is_added_shown_changed_paused_and_removed(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "appendix.md").write_text("Look twice.\n")
    words = ("--label", "security", "--model", "opus", "--max-parallel", "1")
    added = await done("agents", "add", "sec", *words, "--appendix-file", str(tmp_path / "appendix.md"))
    assert added.out == "sec is in the pool and takes turns from now on\n"
    taker = await fleet.taker(labels=("security",), by_hand=True)
    await taker.granted()
    shown = (await done("agents", "show", "sec", "--json")).json
    assert (shown["model"], shown["match_labels"], shown["prompt_appendix"]) == ("opus", ["security"], "Look twice.")
    assert shown["runs"] == [taker.asked.run]
    assert taker.asked.run in (await done("agents", "show", "sec")).out
    edited = (await done("agents", "edit", "sec", "--model", "", "--label", "", "--json")).json
    assert (edited["model"], edited["match_labels"], edited["max_parallel"]) == ("", [], 1)
    await done("agents", "pause", "sec")
    assert "paused" in (await done("agents", "list")).out
    await done("agents", "resume", "sec")
    assert (await done("agents", "remove", "sec")).out == "sec takes no more turns and is gone\n"
    assert "'sec'" in await refused("agents", "show", "sec")
    await taker.ends()
    await taker.handle.result()


async def test_the_last_of_a_type_does_not_go_without_a_word(fleet: Fleet) -> None:
    said = (await done("agents", "remove", "dev-default")).out
    assert "nobody of the type 'dev' is left" in said
    assert "fettle agents add NAME --type dev" in said


@pytest.mark.parametrize(
    "words", [("agents", "add", "x"), ("agents", "edit", "dev-default"), ("agents", "type", "dev")]
)
async def test_an_agent_of_no_known_backend_is_refused_with_those_there_are(
    fleet: Fleet, words: tuple[str, ...]
) -> None:
    said = await refused(*words, "--backend", "cluade", code=2)
    assert "'cluade'" in said
    assert "claude, codex, gemini, kimi, opencode, scripted" in said


async def test_a_refused_value_is_shown_in_short(fleet: Fleet) -> None:
    said = await refused("agents", "add", "x", "--appendix", "a" * 5000)
    assert "5002 characters" in said
    assert len(said) < 500


async def test_a_type_gives_its_members_what_they_do_not_say(fleet: Fleet) -> None:
    said = await done("agents", "type", "dev", "--backend", "codex")
    assert said.out == "the type 'dev' is changed; it counts for dev-default\n"
    assert (await done("agents", "show", "dev-default", "--json")).json["backend"] == "codex"
    assert "nothing to change" in await refused("agents", "type", "dev", code=2)


async def test_a_wrong_change_is_refused_in_the_fleets_words(fleet: Fleet) -> None:
    assert "fettle agents edit dev-default" in await refused("agents", "add", "dev-default")
    assert "'name' is 'Big Name'" in await refused("agents", "add", "Big Name")
    assert "it has dev-default, reviewer-default" in await refused("agents", "pause", "ghost")
    assert "nothing to change" in await refused("agents", "edit", "dev-default")
    assert "cannot be read" in await refused("agents", "add", "x", "--appendix-file", "/nowhere", code=2)


async def test_limits_are_set_one_by_one_and_taken_back(fleet: Fleet) -> None:
    await done("budget", "set", "--day", "50", "--run", "5")
    await done("budget", "set", "--repository", "7.5", "--only", "Acme/API")
    limits = (await done("budget", "show", "--json")).json["limits"]
    assert (limits["day_usd"], limits["run_usd"], limits["repositories"]) == (50, 5, {"acme/api": 7.5})
    said = await done("budget", "set", "--run", "", "--repository", "", "--only", "acme/api")
    assert said.out == "the budgets are changed; the day $50.00\n"
    for text in ("lots", "nan", "inf"):
        assert "no number of dollars" in await refused("budget", "set", "--day", text, code=2)
    assert "name a limit" in await refused("budget", "set")
    assert "'day_usd' is -1.0" in await refused("budget", "set", "--day", "-1")
    assert "add --repository USD" in await refused("budget", "set", "--only", "acme/api", code=2)


async def test_an_override_lets_a_waiting_run_go_on_and_shows_when_it_ends(fleet: Fleet) -> None:
    await done("budget", "set", "--day", "0")
    taker = await fleet.taker(estimate_usd=1)
    assert "fettle budget override --usd N --for 2h" in await taker.waits()
    await done("budget", "override", "--usd", "3", "--for", "90m", "--note", "release day")
    await taker.asks_now()
    await taker.handle.result()
    shown = (await done("budget", "show", "--json")).json
    (found,) = shown["overrides"]
    assert datetime.fromisoformat(found["until"]) - datetime.now(UTC) < timedelta(minutes=90)
    assert (found["by"], found["note"], shown["day_limit_usd"]) == ("ann", "release day", 3)
    days = {id: tally.usd for id, tally in (await fleet.state()).book.tallies.items() if id.startswith("day/")}
    assert sum(days.values()) == 1
    assert shown["spent_usd"] == days.get(f"day/{shown['day']}", 0)  # midnight may have come after the turn
    assert "by ann: release day" in (await done("budget", "show")).out
    assert "7d" in await refused("budget", "override", "--usd", "1", "--for", "8d", code=2)
    assert "'turn_usd' is 0.0" in await refused("budget", "set", "--turn", "0")
    assert "add --repo owner/name" in await refused("budget", "override", "--usd", "1", "--issue", "4", code=2)


async def test_a_provider_that_is_left_alone_is_shown_and_cleared(fleet: Fleet) -> None:
    taker = await fleet.taker(by_hand=True)
    await taker.granted()
    await taker.ends("QuotaExhausted", retry_after_seconds=3600)
    await taker.handle.result()
    assert "anthropic until" in (await done("budget", "show")).out
    assert "anthropic is asked again" in (await done("budget", "clear", "anthropic")).out
    assert "is not left alone now" in await refused("budget", "clear", "anthropic")


async def test_a_fleet_that_does_not_run_is_told_in_words(fleet: Fleet) -> None:
    await fleet.handle.terminate("by a test")
    for words in (("agents", "list"), ("agents", "pause", "dev-default"), ("budget", "show")):
        assert "the fleet workflow is not running" in await refused(*words)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1d12h", 129600), ("1.5h", 5400)])
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert budgets.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "2w", "-2h"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(failures.Usage, match="for example 2h"):
        budgets.seconds(text)


async def filled(tmp_path: Path) -> None:
    store = await engine.open_store(f"sqlite:///{tmp_path}/state/fettle.db")
    costs = [("acme/api", "dev-default", 1.25), ("acme/web", "sec", 3.0), ("acme/web", "sec", None)]
    now = datetime.now(UTC)  # one for all: they are of one day
    for number, (repo, agent, cost) in enumerate(costs):
        ended = EndTurn(
            turn=f"t{number}",
            run=f"issue/{repo}/1",
            repo=refs.Repository.parse(repo),
            type=roster.DEV,
            instance=agent,
            session_id=f"s{number}",
            session_cost_usd=cost,
            reserved_usd=2,
        )
        await store.ledger.record(ended, now)
    await store.aclose()


async def test_costs_add_up_and_what_nobody_knows_is_unknown(tmp_path: Path) -> None:
    await filled(tmp_path)
    report = (await done("cost", "--json")).json
    assert [(s["key"], s["turns"], s["usd"], s["unknown_turns"]) for s in report["sums"]] == [
        ("acme/web", 2, 3, 1),
        ("acme/api", 1, 1.25, 0),
    ]
    assert (report["total"]["usd"], report["total"]["unknown_turns"]) == (4.25, 1)
    by_agent = (await done("cost", "--by", "agent", "--repo", "acme/web")).out
    assert "sec" in by_agent
    assert "1 turn, $2.00 reserved" in by_agent
    assert "dev-default" not in by_agent
    days = (await done("cost", "--by", "day", "--since", "2d", "--json")).json["sums"]
    assert [s["turns"] for s in days] == [3]


async def test_a_cost_that_is_known_of_no_turn_is_not_zero(tmp_path: Path) -> None:
    await filled(tmp_path)
    store = await engine.open_store(f"sqlite:///{tmp_path}/state/fettle.db")
    repo = refs.Repository(owner="acme", name="new")
    await store.ledger.record(EndTurn(turn="x", run="r", repo=repo, reserved_usd=2), datetime.now(UTC))
    await store.aclose()
    (line,) = [line for line in (await done("cost")).out.splitlines() if line.startswith("acme/new")]
    assert "unknown" in line
    assert "$0" not in line
    (found,) = (await done("cost", "--repo", "acme/new", "--json")).json["sums"]
    assert found["usd"] is None


def test_an_empty_ledger_says_so(tmp_path: Path) -> None:
    assert say("cost").out.startswith("no turn has ended in the last 30d")


def test_a_time_beyond_every_calendar_is_refused() -> None:
    with pytest.raises(failures.Usage, match="36500d"):
        budgets.seconds("99999999999d")
