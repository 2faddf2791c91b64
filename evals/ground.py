"""An installation to measure: `fettle up` as users start it, repositories with instant CI, a scripted agent."""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cli import background, desk, failures, outside, render, trial
from domain import refs, run
from domain.policy import ApprovalMode, RepositoryPolicy
from store import repositories
from workers import connection, embedded_forge, laptop, schedules

PERSON: Final = "ann"
OWNER: Final = "bench"
_LOOK_SECONDS: Final = 0.05
_CLOSE_LOOK_SECONDS: Final = 0.02
"""Where the moment itself is measured."""
_TITLE: Final = "Write down what was decided"

Script = Sequence[Mapping[str, object]]
"""The steps of the scripted agent's only turn."""


@dataclass(frozen=True)
class Filed:
    """An issue, and the moment before it was sent to the forge."""

    issue: refs.Issue
    at: datetime


@dataclass(frozen=True)
class Ground:
    """One running installation and everything a benchmark does to it."""

    made: background.Installation
    client: Client
    desk: desk.Desk
    person: httpx.AsyncClient
    """The forge, as the person who files the issues."""
    token: str
    """That person's."""
    scripts: Path

    @property
    def processes(self) -> dict[str, int]:
        """Pids by part, as they are now."""
        up = connection.read_up(self.made.state) or {}
        return {"supervisor": int(up["pid"]), **{name: int(pid) for name, pid in up["processes"].items()}}

    async def repository(
        self, name: str, *, webhooks: bool, max_in_flight: int = 4, source: Path | None = None
    ) -> refs.Repository:
        """Make a repository with instant CI, and let Fettle work on it without asking anybody.

        Args:
            name: of the repository.
            webhooks: whether the forge tells Fettle what happens; without, the polls find it.
            max_in_flight: runs at once.
            source: a directory or git repository to copy; None: one file.
        """
        repo = refs.Repository(owner=OWNER, name=name)
        if source is None:
            source = self.scripts.parent / "source"
            source.mkdir(exist_ok=True)
            (source / "README.md").write_text("# A repository to measure with\n", encoding="utf-8")
        await self.desk.take_in(repo, source, "main")
        await self.desk.let_in(repo, PERSON)
        await self.desk.let_in(repo, embedded_forge.BOT)
        await self._instant_ci(repo)
        config = laptop.configured(self.made.state)
        if webhooks:
            secret = config.webhook_secret.get_secret_value() if config.webhook_secret else ""
            await self.desk.call_back(repo, f"{self.made.web_url}{trial.WEBHOOK_PATH}", secret)
        policy = RepositoryPolicy(approval_mode=ApprovalMode.FULL_AUTO, max_in_flight=max_in_flight)
        async with outside.store(config) as store:
            await store.repositories.upsert(
                repositories.Registration(ref=repo, policy=policy, added_at=datetime.now(UTC))
            )
        await schedules.ensure_intake(self.client, repo, config)
        return repo

    def script(self, repo: refs.Repository, count: int) -> None:
        """Give every issue among the next `count` (pull requests count too) a file of its own to write, so that no two
        runs conflict."""
        for number in range(1, 2 * count + 2):
            step = {"write": {"path": f"decisions/{number}.md", "content": f"Decision {number}.\n"}}
            write_script(self.scripts / f"{repo.owner}__{repo.name}__{number}.json", [step])

    async def file(self, repo: refs.Repository) -> Filed:
        """File an issue that carries the trigger label from the start."""
        at = datetime.now(UTC)
        issue, _ = await self.desk.file_issue(repo, self.token, _TITLE, "One file is enough.")
        return Filed(issue, at)

    async def ended(self, filed: Filed, seconds: float) -> run.State:
        """Wait for the end of an issue's run, without asking anything of it meanwhile.

        Raises:
            failures.Failed: it did not end in time, or not with a merge.
        """
        handle = self.client.get_workflow_handle(filed.issue.workflow_id, result_type=run.State)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        state: run.State = await handle.result()
                        break
                    except RPCError as not_there:
                        if not_there.status is not RPCStatusCode.NOT_FOUND:
                            raise
                        await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise failures.Failed(f"{filed.issue} has not ended after {seconds:g} s") from None
        if not state.merge.merged_sha:
            reason = state.ending.reason if state.ending else "no reason"
            raise failures.Failed(f"{filed.issue} ended in {state.phase} without a merge ({reason})")
        return state

    async def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One call to the forge as a person.

        Raises:
            failures.Failed: it was refused.
        """
        answer = await self.person.request(method, path, json=body)
        if answer.is_error:
            raise failures.Failed(f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found

    async def _instant_ci(self, repo: refs.Repository) -> None:
        token = embedded_forge.admin_token(self.made.state)
        async with httpx.AsyncClient(base_url=self.made.forge_url, trust_env=False) as forge:
            answer = await forge.put(
                f"/_devforge/repos/{repo}/ci",
                json={"mode": "instant_success"},
                headers={"Authorization": f"Bearer {token}"},
            )
        answer.raise_for_status()


@asynccontextmanager
async def prepared(settings: Mapping[str, str]) -> AsyncIterator[Ground]:
    """An installation of its own for one measure, on a directory that goes when it was measured.

    Args:
        settings: `FETTLE_*` variables beside those that every measure needs.

    Raises:
        failures.Failed: it does not start, or what is measured fails; the message names the directory with the logs.
    """
    folder = Path(tempfile.mkdtemp(prefix="fettle-bench-"))
    state, scripts = folder / "state", folder / "scripts"
    scripts.mkdir()
    write_script(scripts / "default.json", [{"say": "There is no script for this issue."}])
    environment = background.clean_environment(
        {
            "FETTLE_STATE_DIR": str(state),
            "FETTLE_DEFAULT_AGENT": "scripted",
            "FETTLE_SANDBOX": "none",  # what is measured is comparable on every machine
            "FETTLE_SCRIPTED": str(scripts),
            **settings,
        }
    )
    background.isolate(environment)
    try:
        async with background.started(state, environment, keep=False, told=lambda _: None) as made:
            client = await connection.connect("bench", address=made.temporal_address)
            async with desk.Desk(made.forge_url, embedded_forge.admin_token(made.state)) as at:
                await at.person(OWNER)
                token = await at.person(PERSON)
                headers = {"Authorization": f"Bearer {token}"}
                async with httpx.AsyncClient(
                    base_url=made.forge_url, headers=headers, timeout=60, trust_env=False
                ) as person:
                    yield Ground(made, client, at, person, token, scripts)
    except failures.Failed as failed:
        raise trial.located(failed, state) from failed
    shutil.rmtree(folder, ignore_errors=True)


async def until(true: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Look until `true` comes true.

    Raises:
        failures.Failed: it does not, in `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise failures.Failed(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(_CLOSE_LOOK_SECONDS)


def write_script(path: Path, steps: Script) -> None:
    """One turn of the scripted agent."""
    content: dict[str, Any] = {"name": "benchmark", "turns": [{"steps": list(steps)}]}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)


def progress(line: str) -> None:
    """Say on stderr what goes on."""
    render.progress(f"{time.strftime('%H:%M:%S')} {line}")
