"""Repositories are registered only when Fettle may work on them, on a real forge, with a real store and schedule."""

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain import refs, wire
from domain.workflow_policy import Source
from store import engine, learnings
from tests.cli.world import World, asay, say
from tests.devforge import world as forge_world
from workers import schedules, settings


async def test_add_stores_what_was_given_and_makes_the_schedule_and_the_labels(
    repo: str, runs: World, forge: forge_world.Server, tmp_path: Path
) -> None:
    found = await asay(
        "repo", "add", repo, "--verify", "make test", "--mode", "full-auto", "--author", "ada", "--author", "bob",
        "--max-in-flight", "2", "--no-checks", "merge", "--merge-method", "squash",
        "--policy", "ci_timeout_seconds=600", "--json",
    )  # fmt: skip
    assert found.code == 0, found.err
    policy = found.json["policy"]
    assert (policy["verify_command"], policy["approval_mode"], policy["max_in_flight"]) == ("make test", "full-auto", 2)
    assert policy["allowed_authors"] == ["ada", "bob"]
    assert (policy["no_checks"], policy["merge_method"], policy["ci_timeout_seconds"]) == ("merge", "squash", 600)
    assert "base_branch" not in found.json["set"]
    assert (await runs.client.get_schedule_handle(f"intake/{repo}").describe()).schedule.state.paused is False
    reader = forge.client((tmp_path / "token-ada").read_text())
    labels = {label["name"] for label in await reader.get(f"/repos/{repo}/labels")}
    await reader.http.aclose()
    assert wire.LABEL_TRIGGER in labels


async def test_add_says_what_to_do_next(repo: str) -> None:
    found = await asay("repo", "add", repo)
    assert found.out == f"{repo} is registered, looks every 30 s: label an issue 'fettle' to start a run\n"


async def registered() -> list[str]:
    found = await asay("repo", "list", "--json")
    return [entry["repository"] for entry in found.json]


async def test_a_repository_without_write_access_is_refused_and_not_stored(
    repo: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: World
) -> None:
    monkeypatch.setenv("FETTLE_FORGE__TOKEN_FILE", str(tmp_path / "token-guest"))
    found = await asay("repo", "add", repo)
    assert found.code == 1
    assert "guest may read it but not push to it" in found.err
    assert await registered() == []
    assert not await schedules.remove_intake(runs.client, refs.Repository.parse(repo))


async def test_a_repository_that_is_not_there_is_refused_and_not_stored(repo: str) -> None:
    found = await asay("repo", "add", "ada/nothing")
    assert found.code == 1
    assert "fettle sees no such repository on http://127.0.0.1" in found.err
    assert await registered() == []


async def test_a_base_branch_that_is_not_there_is_refused(repo: str) -> None:
    found = await asay("repo", "add", repo, "--base", "develop")
    assert found.code == 1
    assert "it has no branch 'develop'" in found.err
    assert await registered() == []


@pytest.mark.parametrize("status", [403, 404])
async def test_a_token_that_cannot_read_check_runs_is_refused_and_not_stored(
    repo: str, forge: forge_world.Server, status: int
) -> None:
    """Every run would hang at its first commit, in front of checks that it never sees."""
    admin = forge.client(forge_world.ADMIN)
    await admin.post("/_devforge/faults", {"kind": "fail_5xx", "status": status, "path": f"{repo}/.*/check-runs$"})
    found = await asay("repo", "add", repo)
    await admin.http.aclose()
    assert found.code == 1
    assert "not read the check runs of main" in found.err
    assert "fine-grained tokens have no such permission, so use a GitHub App" in found.err
    assert await registered() == []
    assert (await asay("repo", "add", repo)).code == 0


async def test_a_wrong_token_is_refused_and_never_shown(
    repo: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("ghp_" + "w" * 36)
    monkeypatch.setenv("FETTLE_FORGE__TOKEN_FILE", str(tmp_path / "wrong"))
    found = await asay("repo", "add", repo)
    assert found.code == 1
    assert "ghp_" not in found.err + found.out


async def test_a_forge_that_does_not_answer_is_exit_3(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, so that nobody else gets the port, and not listening
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FETTLE_FORGE__API_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        found = await asay("repo", "add", repo)
    assert found.code == 3
    assert await registered() == []


async def test_no_forge_identity_names_the_setting(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FETTLE_FORGE__TOKEN_FILE")
    found = await asay("repo", "add", repo)
    assert found.code == 1
    assert "FETTLE_FORGE__TOKEN_FILE" in found.err


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("--mode", "yolo"), "approval_mode"),
        (("--no-checks", "maybe"), "no_checks"),
        (("--agent", "cluade"), "'cluade', the known ones are claude"),
        (("--policy", 'fallback_agents=["codx"]'), "'codx'"),
        (("--policy", "aproval_mode=full-auto"), "aproval_mode"),
        (("--policy", "nonsense"), "nonsense"),
    ],
)
async def test_a_policy_that_is_not_accepted_names_the_key(repo: str, words: tuple[str, ...], key: str) -> None:
    found = await asay("repo", "add", repo, *words)
    assert found.code == 2
    assert key in found.err
    assert await registered() == []


async def test_set_changes_what_is_given_and_keeps_the_rest(repo: str) -> None:
    await asay("repo", "add", repo, "--verify", "make test", "--max-in-flight", "2")
    found = await asay("repo", "set", repo, "--max-in-flight", "3", "--json")
    assert found.code == 0, found.err
    assert (found.json["policy"]["max_in_flight"], found.json["policy"]["verify_command"]) == (3, "make test")
    assert found.json["set"] == ["max_in_flight", "verify_command"]
    assert (await asay("repo", "set", repo)).code == 2


async def test_set_keeps_a_persons_pause(repo: str, runs: World) -> None:
    await asay("repo", "add", repo)
    await asay("schedules", "pause", repo)
    found = await asay("repo", "set", repo, "--agent", "claude")
    assert "its schedule is paused" in found.out
    assert (await runs.client.get_schedule_handle(f"intake/{repo}").describe()).schedule.state.paused


async def test_show_marks_what_was_set(repo: str) -> None:
    await asay("repo", "add", repo, "--verify", "make test")
    found = await asay("repo", "show", repo)
    lines = {line.split()[0]: line for line in found.out.splitlines() if line.strip()}
    assert lines["verify_command"].split() == ["verify_command", '"make', 'test"', "set"]
    assert lines["max_in_flight"].split() == ["max_in_flight", "4", "default"]
    assert f"intake/{repo}" in found.out


async def test_remove_takes_registration_and_schedule(repo: str, runs: World) -> None:
    await asay("repo", "add", repo)
    found = await asay("repo", "remove", repo)
    assert found.code == 0, found.err
    assert await registered() == []
    again = await asay("repo", "remove", repo)
    assert again.code == 1
    assert f"{repo} is not registered" in again.err


async def test_learnings_are_listed_newest_first(repo: str, tmp_path: Path) -> None:
    store = await engine.open_store(settings.load().store_dsn)
    ref = refs.Repository.parse(repo)
    for hour, words in ((1, "older [red]one[/red]"), (2, "newer one")):
        await store.learnings.record(
            learnings.Learning(
                repo=ref,
                kind=learnings.Kind.SUCCESS,
                run=ref.issue(hour).workflow_id,
                text=words,
                created_at=datetime(2026, 1, 1, hour, tzinfo=UTC),
            )
        )
    await store.aclose()
    found = await asay("repo", "learnings", repo, "--json")
    assert [item["text"] for item in found.json] == ["newer one", "older [red]one[/red]"]
    assert "older [red]one[/red]" in (await asay("repo", "learnings", repo)).out


def test_an_empty_list_says_how_to_register() -> None:
    assert say("repo", "list").out == "no repository is registered: fettle repo add owner/name\n"
    assert say("repo", "list", "--json").json == []


def test_what_is_no_repository_is_a_usage_error() -> None:
    assert say("repo", "show", "acme").code == 2


async def test_what_a_run_finds_in_the_repositorys_file_is_nobodys_to_set(repo: str) -> None:
    await asay("repo", "add", repo)
    found = await asay("repo", "set", repo, "--policy", 'workflow={"prompt": "x"}')
    assert found.code == 2
    assert "nobody sets it" in found.err


async def test_show_tells_what_is_wrong_with_the_repositorys_file(repo: str, tmp_path: Path) -> None:
    await asay("repo", "add", repo)
    store = await engine.open_store(settings.load().store_dsn)
    source = Source(branch="main", commit_sha="a" * 40)
    await store.workflow_files.refuse(
        refs.Repository.parse(repo), source, "line 3: wrong", read_at=datetime(2026, 3, 1, tzinfo=UTC)
    )
    await store.aclose()
    assert "line 3: wrong" in (await asay("repo", "show", repo)).out
    shown = (await asay("repo", "show", repo, "--json")).json["workflow_file"]
    assert (shown["problem"], shown["usable"]) == ("line 3: wrong", False)
    assert (await asay("repo", "remove", repo)).code == 0
    await asay("repo", "add", repo)
    assert (await asay("repo", "show", repo, "--json")).json["workflow_file"] is None
