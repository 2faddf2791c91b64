"""Agent hosts as an operator sees them, and a turn as its host's heartbeats tell it."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import artifact_store
from cli import milestones
from domain import agent, errors, host_report, wire
from tests.cli.world import World, asay
from workers import connection, host_reporting


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> artifact_store.DirectoryStore:
    monkeypatch.setenv("FETTLE_ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    return artifact_store.DirectoryStore(tmp_path / "artifacts")


def _report(host: str, **more: object) -> host_report.Report:
    facts: dict[str, object] = {
        "host": host,
        "at": datetime.now(UTC),
        "slots": 2,
        "runs": (host_report.LeasedRun(run="issue/acme/api/7", backend="claude"),),
        "agents": {
            "claude": host_report.Agent(version="2.1.328", ready=True),
            "codex": host_report.Agent(version="9.0.0", ready=True, verified=False),
            "gemini": host_report.Agent(why_not="gemini is not in the PATH"),
        },
        "sandbox": "bubblewrap",
    }
    return host_report.Report.model_validate({**facts, **more})


async def _put(store: artifact_store.DirectoryStore, *reports: host_report.Report) -> None:
    for report in reports:
        await store.put(host_report.key(report.host), report.model_dump_json().encode())


async def test_hosts_are_listed_with_slots_runs_agents_and_sandbox(
    runs: World, store: artifact_store.DirectoryStore
) -> None:
    await _put(store, _report("host-a"))
    found = await asay("hosts")
    assert found.code == 0, found.err
    [line] = [line for line in found.out.splitlines() if line.startswith("host-a")]
    for word in ("ready", "1/2", "acme/api/7", "claude 2.1.328", "codex 9.0.0*", "bubblewrap", "ago"):
        assert word in line
    assert "gemini" not in line
    assert "not tested with" in found.out


async def test_a_host_without_a_beat_a_working_sandbox_or_an_end_says_so(
    runs: World, store: artifact_store.DirectoryStore
) -> None:
    old = datetime.now(UTC) - timedelta(minutes=5)
    await _put(
        store,
        _report("lost", at=old),
        _report("ended", at=old, ended=True),
        _report("draining", draining=True),
        _report("open", sandbox_why_not="bwrap is not in the PATH"),
    )
    await store.put("hosts/broken.json", b"{")
    found = {host["id"]: host for host in (await asay("hosts", "--json")).json}
    assert {name: host["state"] for name, host in found.items() if host["slots"]} == {
        "lost": "lost",
        "ended": "ended",
        "draining": "draining",
        "open": "no sandbox",
    }
    assert found["open"]["sandbox_why_not"] == "bwrap is not in the PATH"
    assert "bwrap is not in the PATH" in (await asay("hosts")).out


async def test_a_report_is_written_while_the_host_lives_and_says_its_end(store: artifact_store.DirectoryStore) -> None:
    async with host_reporting.reporting(store, lambda: _report("host-a", disk="one")):
        async with asyncio.timeout(10):
            while not await host_reporting.read_all(store):  # noqa: ASYNC110 - written by another task, to a file
                await asyncio.sleep(0.01)
        [there] = await host_reporting.read_all(store)
        assert not there.ended
    [there] = await host_reporting.read_all(store)
    assert there.ended


async def test_two_disks_under_one_id_are_refused(store: artifact_store.DirectoryStore) -> None:
    """Half of the runs' disk work would be sent to the disk that does not have it."""
    await _put(store, _report("host-a", disk="one"))
    with pytest.raises(errors.ConfigurationError, match="give each host an id of its own"):
        async with host_reporting.reporting(store, lambda: _report("host-a", disk="two")):
            pass
    async with host_reporting.reporting(store, lambda: _report("host-a", disk="one")):
        pass
    async with host_reporting.reporting(store, lambda: _report("host-a", disk="two")):
        pass  # the other one has said its end


@activity.defn(name=wire.RUN_AGENT)
async def _play(steps: int) -> None:
    session = agent.Session(backend="scripted")
    activity.heartbeat(agent.Progress(session=session, turn=steps, tool="Bash", wip_sha="a" * 40))
    await asyncio.Event().wait()


@workflow.defn(name="OneRound")
class _OneRound:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            _play,
            3,
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=50),
        )


async def test_milestones_tell_the_host_the_kept_work_and_a_long_call_once(runs: World, server: str) -> None:
    issue, queue = runs.repo.issue(1), f"milestones-{uuid.uuid4()}"
    client = await connection.connect("agents-host-7", address=server)
    watched = milestones.Milestones(runs.client, issue)
    now = 0.0
    watched._clock = lambda: now  # the test's own: what the looks themselves take is not told
    assert await watched.look() == []
    async with Worker(
        client,
        task_queue=queue,
        workflows=[_OneRound],
        activities=[_play],
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(0),
    ):
        handle = await client.start_workflow(_OneRound.run, id=f"{issue.workflow_id}/implement", task_queue=queue)
        async with asyncio.timeout(20):
            while not (told := await watched.look()):  # noqa: ASYNC110 - a heartbeat tells nobody that it has come
                await asyncio.sleep(0.05)
        assert told == ["turn 3 is played on host-7", "work in progress kept as aaaaaaaaa"]
        assert await watched.look() == []
        now = 12.0
        assert await watched.look() == ["Bash has been running for 12s"]
        now = 23.9
        assert await watched.look() == []
        await handle.terminate()
