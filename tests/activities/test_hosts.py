import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import hosts
from domain import errors, host_report, work
from integrations.git import mirror, names
from tests.integrations.git.lab import RUN, Lab, git


class Runs:
    """Which workflow ids are open, and who asked."""

    def __init__(self, *ended: str) -> None:
        self.ended = set(ended)
        self.asked: list[str] = []

    async def is_open(self, run: str) -> bool:
        self.asked.append(run)
        return run not in self.ended


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def host(tmp_path: Path, runs: Runs) -> hosts.HostActivities:
    return hosts.HostActivities(mirror.Mirrors.under(tmp_path / "state"), 2, {"claude": "2.1"}, runs.is_open)


async def _claim(
    host: hosts.HostActivities, run: str, *, backend: str = "claude", avoid: str = "", attempt: int = 1
) -> work.HostLease:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=attempt)
    return await environment.run(host.claim_host, work.ClaimHost(run=run, backend=backend, avoid_host=avoid))


async def _release(host: hosts.HostActivities, run: str, *, remove_worktree: bool = True) -> None:
    await ActivityEnvironment().run(host.release_host, work.ReleaseHost(run=run, remove_worktree=remove_worktree))


def _leases(host: hosts.HostActivities) -> set[str]:
    return set(json.loads((host.mirrors.state / "leases.json").read_text())["leases"])


async def test_lease_names_the_hosts_own_queue(host: hosts.HostActivities) -> None:
    lease = await _claim(host, "issue/a/b/1")
    assert lease.queue == f"fettle-host/{lease.host_id}"
    assert lease.backend_versions == {"claude": "2.1"}
    assert lease.host_id == hosts.host_id(host.mirrors.state)


async def test_claiming_twice_gives_the_same_lease(host: hosts.HostActivities) -> None:
    for _ in range(3):
        assert await _claim(host, "issue/a/b/1") == await _claim(host, "issue/a/b/1")
    await _claim(host, "issue/a/b/2")


async def test_full_host_refuses_and_says_when_to_ask_again(host: hosts.HostActivities) -> None:
    await _claim(host, "issue/a/b/1")
    await _claim(host, "issue/a/b/2")
    with pytest.raises(errors.HostFull, match="all 2 are leased") as full:
        await _claim(host, "issue/a/b/3")
    assert full.value.retry_after is not None
    assert full.value.retry_after.total_seconds() == 2
    await _claim(host, "issue/a/b/2")  # who has a slot keeps it


async def test_released_slot_is_free_and_releasing_twice_is_no_error(host: hosts.HostActivities) -> None:
    await _claim(host, "issue/a/b/1")
    await _claim(host, "issue/a/b/2")
    await _release(host, "issue/a/b/1")
    await _release(host, "issue/a/b/1")
    await _claim(host, "issue/a/b/3")
    assert _leases(host) == {"issue/a/b/2", "issue/a/b/3"}


async def test_leases_survive_a_restart(host: hosts.HostActivities, runs: Runs) -> None:
    await _claim(host, "issue/a/b/1")
    again = hosts.HostActivities(mirror.Mirrors.under(host.mirrors.state), 1, {"claude": "2.1"}, runs.is_open)
    with pytest.raises(errors.HostFull):
        await _claim(again, "issue/a/b/2")
    assert (await _claim(again, "issue/a/b/1")).host_id == hosts.host_id(host.mirrors.state)


async def test_concurrent_claims_never_exceed_the_slots(host: hosts.HostActivities) -> None:
    claims = await asyncio.gather(*(_claim(host, f"issue/a/b/{n}") for n in range(1, 21)), return_exceptions=True)
    assert sum(isinstance(claim, work.HostLease) for claim in claims) == 2
    assert len(_leases(host)) == 2


async def test_ended_runs_lose_their_slot_when_the_host_is_full(host: hosts.HostActivities, runs: Runs) -> None:
    await _claim(host, "issue/a/b/1")
    runs.ended.add("issue/a/b/1")
    await _claim(host, "issue/a/b/2")
    assert runs.asked == []  # nobody is asked while there is room
    await _claim(host, "issue/a/b/3")
    assert _leases(host) == {"issue/a/b/2", "issue/a/b/3"}


async def test_a_run_that_went_on_elsewhere_loses_its_slot_here_and_keeps_its_files(tmp_path: Path, runs: Runs) -> None:
    """Its release was lost with this host's worker, and it may wait for a person for weeks. What it pushed last is
    another host's by then, so nothing of it is removed."""
    lab = Lab(tmp_path)
    await lab.prepare()
    host = hosts.HostActivities(lab.mirrors, 1, {"claude": ""}, runs.is_open)
    await _claim(host, RUN)
    with pytest.raises(errors.HostFull):
        await _claim(host, "issue/a/b/2")
    runs.ended.add(f"{RUN}/implement")
    await _claim(host, "issue/a/b/2")
    assert _leases(host) == {"issue/a/b/2"}
    assert lab.clone.is_dir()


async def test_lease_stays_when_nobody_can_say_whether_the_run_is_open(tmp_path: Path) -> None:
    async def unreachable(run: str) -> bool:
        raise ConnectionError("the server is away")

    host = hosts.HostActivities(mirror.Mirrors.under(tmp_path / "state"), 1, {"claude": ""}, unreachable)
    await _claim(host, "issue/a/b/1")
    with pytest.raises(errors.HostFull):
        await _claim(host, "issue/a/b/2")
    assert _leases(host) == {"issue/a/b/1"}


async def test_lease_that_was_claimed_anew_while_it_was_asked_about_stays(tmp_path: Path) -> None:
    """The answer 'ended' was about the former execution of the run."""
    answered = asyncio.Event()

    async def ended(run: str) -> bool:
        await _release(asked, "issue/a/b/1")
        await _claim(asked, "issue/a/b/1")
        answered.set()
        return False

    asked = hosts.HostActivities(mirror.Mirrors.under(tmp_path / "state"), 1, {"claude": ""}, ended)
    await _claim(asked, "issue/a/b/1")
    with pytest.raises(errors.HostFull):
        await _claim(asked, "issue/a/b/2")
    assert answered.is_set()
    assert _leases(asked) == {"issue/a/b/1"}


async def test_lost_host_waits_for_others_and_then_takes_the_run_back(host: hosts.HostActivities) -> None:
    own_id = hosts.host_id(host.mirrors.state)
    with pytest.raises(errors.HostFull, match="asks for another host"):
        await _claim(host, "issue/a/b/1", avoid=own_id)
    await _claim(host, "issue/a/b/1", avoid=own_id, attempt=6)
    await _claim(host, "issue/a/b/2", avoid="another-host")


async def test_a_run_waits_for_a_full_host_that_has_its_agent_however_often_another_is_asked(
    host: hosts.HostActivities,
) -> None:
    ready = {"codex": host_report.Agent(version="0.169.0", ready=True)}
    now = datetime.now(UTC)
    reports = [host_report.Report(host="other", at=now, agents=ready, sandbox="bubblewrap")]

    async def others() -> list[host_report.Report]:
        return reports

    asked = dataclasses.replace(host, others=others)
    with pytest.raises(errors.HostFull, match="another host is asked"):
        await _claim(asked, "issue/a/b/1", backend="codex", attempt=60)
    for gone in (
        {"ended": True},
        {"draining": True},
        {"at": now - timedelta(minutes=5)},
        {"agents": {"codex": ready["codex"].model_copy(update={"ready": False})}},
        {"host": hosts.host_id(host.mirrors.state)},
    ):
        reports[:] = [reports[0].model_copy(update=gone)]
        with pytest.raises(errors.AgentUnavailable, match="install codex"):
            await _claim(asked, "issue/a/b/1", backend="codex", attempt=60)
        reports[:] = [host_report.Report(host="other", at=now, agents=ready, sandbox="bubblewrap")]


async def test_missing_agent_is_looked_for_elsewhere_and_then_reported(host: hosts.HostActivities) -> None:
    with pytest.raises(errors.HostFull, match="codex"):
        await _claim(host, "issue/a/b/1", backend="codex")
    with pytest.raises(errors.AgentUnavailable, match="has claude: install codex"):
        await _claim(host, "issue/a/b/1", backend="codex", attempt=6)


async def test_host_id_is_made_once(tmp_path: Path) -> None:
    ids = await asyncio.gather(*(asyncio.to_thread(hosts.host_id, tmp_path / "state") for _ in range(8)))
    assert len(set(ids)) == 1
    assert hosts.host_id(tmp_path / "other") != ids[0]
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["host-id"]


async def test_release_removes_the_worktree_and_its_refs(tmp_path: Path, runs: Runs) -> None:
    lab = Lab(tmp_path)
    await lab.prepare()
    lab.commit({"a.txt": "a\n"})
    await lab.integrate()
    host = hosts.HostActivities(lab.mirrors, 1, {"claude": ""}, runs.is_open)
    await _claim(host, RUN)
    await _release(host, RUN, remove_worktree=False)
    assert lab.clone.exists()
    await _release(host, RUN)
    assert not lab.clone.parent.exists()
    assert names.run_slug(RUN) not in git(lab.source.path, "for-each-ref")
    assert (await lab.prepare()).resumed_from_push


async def test_a_named_host_leases_under_its_name_and_tells_its_runs(tmp_path: Path, runs: Runs) -> None:
    mirrors = mirror.Mirrors.under(tmp_path / "state")
    host = hosts.HostActivities(mirrors, 1, {"claude": "2.1"}, runs.is_open, name="fettle-agents-0")
    lease = await _claim(host, "issue/a/b/1")
    assert (lease.host_id, lease.queue) == ("fettle-agents-0", "fettle-host/fettle-agents-0")
    [leased] = host.leased()
    assert (leased.run, leased.backend, leased.since is not None) == ("issue/a/b/1", "claude", True)


async def test_a_host_that_is_about_to_stop_takes_no_run(tmp_path: Path, runs: Runs) -> None:
    mirrors = mirror.Mirrors.under(tmp_path / "state")
    host = hosts.HostActivities(mirrors, 1, {"claude": ""}, runs.is_open, draining=lambda: True)
    with pytest.raises(errors.HostFull, match="about to stop"):
        await _claim(host, "issue/a/b/1")


async def test_disks_have_ids_of_their_own(tmp_path: Path) -> None:
    assert hosts.disk_id(tmp_path / "one") == hosts.disk_id(tmp_path / "one") != hosts.disk_id(tmp_path / "two")


async def test_release_removes_the_work_in_progress_that_this_host_moved_last(tmp_path: Path, runs: Runs) -> None:
    lab = Lab(tmp_path)
    ref = names.wip_ref(RUN)
    await lab.prepare()
    one = hosts.HostActivities(lab.mirrors, 1, {"claude": ""}, runs.is_open, forge=lab.forge)  # type: ignore[arg-type]  # see Lab
    elsewhere = lab.host(tmp_path / "other-host")
    await lab.prepare(mirrors=elsewhere)
    taken = git(lab.bare, "rev-parse", ref)
    await _release(one, RUN)
    assert git(lab.bare, "rev-parse", ref) == taken, "it was another host's"
    two = hosts.HostActivities(elsewhere, 1, {"claude": ""}, runs.is_open, forge=lab.forge)  # type: ignore[arg-type]  # see Lab
    await _release(two, RUN, remove_worktree=False)
    assert git(lab.bare, "rev-parse", ref) == taken, "the run goes on"
    await _release(two, RUN)
    assert git(lab.bare, "for-each-ref", "--format=%(refname)", "refs/fettle") == ""


async def test_a_forge_that_is_down_does_not_keep_a_slot(tmp_path: Path, runs: Runs) -> None:
    lab = Lab(tmp_path)
    await lab.prepare()
    host = hosts.HostActivities(lab.mirrors, 1, {"claude": ""}, runs.is_open, forge=lab.forge)  # type: ignore[arg-type]  # see Lab
    await _claim(host, RUN)
    lab.bare.rename(lab.bare.with_name("away.git"))
    await _release(host, RUN)
    assert _leases(host) == set()
    assert not lab.clone.exists()


async def test_a_host_that_confines_less_than_a_run_asks_for_sends_it_elsewhere(tmp_path: Path, runs: Runs) -> None:
    mirrors = mirror.Mirrors.under(tmp_path / "state")
    open_host = hosts.HostActivities(mirrors, 1, {"claude": "2.1"}, runs.is_open, level="user")
    asked = work.ClaimHost(run="issue/a/b/1", backend="claude", least_sandbox="bubblewrap")
    with pytest.raises(errors.HostFull, match="at least the sandbox bubblewrap"):
        await ActivityEnvironment().run(open_host.claim_host, asked)
    late = ActivityEnvironment()
    late.info = dataclasses.replace(late.info, attempt=9)
    with pytest.raises(errors.AgentUnavailable, match="set up a host with it"):
        await late.run(open_host.claim_host, asked)
    walled = hosts.HostActivities(mirrors, 1, {"claude": "2.1"}, runs.is_open, level="bubblewrap")
    assert (await ActivityEnvironment().run(walled.claim_host, asked)).host_id
