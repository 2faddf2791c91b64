"""One issue taken to its end on an installation of our own, told while it happens: what demo and run have in common."""

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, Field
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from cli import background, desk, failures, outside, runs, story, transcript
from domain import agent, explain, refs, waiting
from domain.policy import RepositoryPolicy
from domain.run import State
from store import repositories
from workers import connection, embedded_forge, laptop, schedules

POLL_SECONDS: Final = 0.3
WEBHOOK_PATH: Final = "/webhooks/github"
_ALIVE: Final = {WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW}
_MILESTONES: Final = {agent.EventKind.TEXT, agent.EventKind.TOOL, agent.EventKind.RETRY, agent.EventKind.ERROR}


class Phased(BaseModel):
    name: str
    seconds: float


class Result(BaseModel):
    """What `--json` prints. Addresses are for a browser; `outcome` is `merged`, or the phase the run ended in."""

    outcome: str
    issue: str
    pull_request: str
    head_sha: str
    merge_sha: str
    phases: list[Phased]
    history_events: int
    temporal_ui: str
    forge_url: str
    reason: str = Field(default="", exclude=True)
    """The run's own words, for the sentence that a failure is told with."""


@dataclass
class Watch:
    """One run that is followed on one installation."""

    client: Client
    installation: background.Installation
    issue: refs.Issue
    issue_url: str
    artifacts: Path
    teller: story.Teller
    _turn: int = 0
    _tap: transcript.Tap | None = field(default=None)

    @property
    def _handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.issue.workflow_id)

    async def to_the_end(self, seconds: float) -> State:
        """Follow the run until it is closed.

        Raises:
            failures.Failed: it is not, after `seconds`; the message says what it waits for.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        told = self.teller.story
        told.links["issue"] = self.issue_url
        last: State | None = None
        while True:
            state = await self._state()
            if state is not None:
                told.state = last = state
                told.milestones += self._milestones(state)
                told.doing, told.asked = _doing(state, self.installation.state)
                if state.pull is not None and state.pull.url:
                    told.links["pull request"] = state.pull.url
                if "Temporal" not in told.links:
                    told.links["Temporal"] = await self.page()
            else:
                told.doing = "the run does not answer" if last else "the run is being started"
            self.teller.update()
            if state is not None and state.phase.terminal and state.closed:
                return state
            await self._refuse_dead_run(state)
            if asyncio.get_running_loop().time() > deadline:
                raise failures.Failed(_late(self.issue, state, last, seconds))
            await asyncio.sleep(POLL_SECONDS)

    async def result(self, state: State) -> Result:
        """The facts about a run that has ended."""
        return Result(
            outcome=story.outcome(state),
            issue=self.issue_url,
            pull_request=state.pull.url if state.pull else "",
            head_sha=state.change.head_sha if state.change else "",
            merge_sha=state.merge.merged_sha,
            phases=[Phased(name=s.name, seconds=s.seconds) for s in story.spans(state, datetime.now(UTC))],
            history_events=await self._history_events(),
            temporal_ui=await self.page(),
            forge_url=self.installation.forge_url,
            reason=state.ending.reason if state.ending else "",
        )

    async def page(self) -> str:
        """The run in the Temporal UI; without a UI that we know of, empty."""
        if not self.installation.temporal_ui:
            return ""
        described = await self._handle.describe()
        run = f"{quote(self.issue.workflow_id, safe='')}/{described.run_id}/history"
        return f"{self.installation.temporal_ui}/namespaces/{quote(self.client.namespace, safe='')}/workflows/{run}"

    async def _state(self) -> State | None:
        """None while the run does not exist yet, and while a server or worker that is being restarted is away."""
        try:
            return await runs.query(self.client, self.issue)
        except (runs.NoSuchRun, runs.NotAnswered, RPCError):
            return None

    async def _refuse_dead_run(self, state: State | None) -> None:
        """A workflow that was terminated, or failed by a defect, has a state that will never be final."""
        with suppress(RPCError):
            status = (await self._handle.describe()).status
            closed = status is not None and status not in _ALIVE
            final = await self._state() if closed else None  # it may have closed just after the last look
            if closed and not (final and final.phase.terminal):
                raise failures.Failed(
                    f"the workflow of {self.issue} ended as {status.name if status else ''} while the run was "
                    f"{state.phase if state else 'unknown'}: see {await self.page() or 'its history'}"
                )

    def _milestones(self, state: State) -> list[str]:
        """What the agent's log says since the last look."""
        found: list[str] = []
        for turn in transcript.turns(self.artifacts, self.issue):
            if turn < self._turn:
                continue
            if turn > self._turn or self._tap is None:
                self._turn, self._tap = turn, transcript.Tap(self.artifacts / transcript.key(self.issue, turn))
            parse = transcript.parser(transcript.writer(self.artifacts, self.issue, turn) or state.backend)
            events = [event for raw in self._tap.read() for event in parse(raw) if event.kind in _MILESTONES]
            found += [line for event in events for line in transcript.lines(event)]
        return found

    async def _history_events(self) -> int:
        """Events of the issue's workflow and of the children it started."""
        total, children = 0, []
        async for event in self._handle.fetch_history_events():
            total += 1
            if event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
                execution = event.child_workflow_execution_started_event_attributes.workflow_execution
                children.append((execution.workflow_id, execution.run_id))
        for workflow_id, run_id in children:
            described = await self.client.get_workflow_handle(workflow_id, run_id=run_id).describe()
            total += described.history_length
        return total


@dataclass(frozen=True)
class Filed:
    """The issue whose run is followed."""

    issue: refs.Issue
    url: str


class Floor:
    """An installation with a client and a desk at its forge: where a plan prepares its repository."""

    def __init__(self, made: background.Installation, client: Client, at: desk.Desk) -> None:
        self.made = made
        self.client = client
        self.desk = at

    async def register(self, repo: refs.Repository, policy: RepositoryPolicy) -> None:
        """Let Fettle work on `repo`: access for its account, the webhook, the policy, the intake schedule."""
        config = laptop.configured(self.made.state)
        secret = config.webhook_secret.get_secret_value() if config.webhook_secret else ""
        await self.desk.let_in(repo, embedded_forge.BOT)
        await self.desk.call_back(repo, f"{self.made.web_url}{WEBHOOK_PATH}", secret)
        async with outside.store(config) as store:
            await store.repositories.upsert(
                repositories.Registration(ref=repo, policy=policy, added_at=datetime.now(UTC))
            )
        await schedules.ensure_intake(self.client, repo, config)


@dataclass(frozen=True)
class Plan:
    """What demo and run differ in."""

    heading: str
    agent: str
    around: str
    """What confines the agent, in words."""
    state: Path
    environment: Mapping[str, str]
    seconds: float
    """How long the run may take."""
    file: Callable[[Floor], Awaitable[Filed]]
    """Prepare the repository and file the issue."""
    after: Callable[[Floor, Result], Awaitable[None]] | None = None
    """Called when the run has ended, while the forge still answers."""
    keep: bool = False
    join: bool = False
    """Use the installation that already works on the state directory, when there is one."""


async def play(plan: Plan) -> tuple[Result, background.Installation]:
    """Carry a plan out and tell it. Whatever was started is stopped again, unless the plan says keep.

    Raises:
        failures.Failed: it did not start, or did not end in time.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):  # they end a command as Ctrl-C does: through every clean-up
        loop.add_signal_handler(number, os.kill, os.getpid(), signal.SIGINT)
    with story.Teller(story.Story(plan.heading, plan.agent, plan.around)) as teller:
        async with _installation(plan, teller) as made:
            client = await connection.connect("cli", address=made.temporal_address)
            async with desk.Desk(made.forge_url, embedded_forge.admin_token(made.state)) as at:
                floor = Floor(made, client, at)
                teller.story.doing = "the repository is being prepared"
                teller.update()
                filed = await plan.file(floor)
                artifacts = laptop.configured(made.state).artifacts_dir
                watch = Watch(client, made, filed.issue, filed.url, artifacts, teller)
                result = await watch.result(await watch.to_the_end(plan.seconds))
                if plan.after is not None:
                    await plan.after(floor, result)
                if made.ours and not plan.keep:
                    teller.story.doing = "everything is being stopped"
        return result, made


@asynccontextmanager
async def _installation(plan: Plan, teller: story.Teller) -> AsyncIterator[background.Installation]:
    """One started for this command, its parts told as they start, or the one that is there."""

    def told(up: dict[str, Any]) -> None:
        teller.story.processes = {n: s for n, s in up.get("states", {}).items() if s != "waiting"}
        teller.update()

    if plan.join and (found := background.running(plan.state)):
        yield found
        return
    async with background.started(plan.state, plan.environment, keep=plan.keep, told=told) as made:
        yield made


def _doing(state: State, folder: Path) -> tuple[str, str]:
    """What the run waits for; and, when the next move is a person's, what that person may type in another terminal."""
    if state.phase.terminal:
        return "", ""
    why = explain.explain(state, datetime.now(UTC))
    if why.whose_move is not waiting.Mover.PERSON:
        return why.waits_for, ""
    place = shlex.quote(str(folder))
    return why.waits_for, f"waits for {why.waits_for}: FETTLE_STATE_DIR={place} {why.next_command}"


def _late(issue: refs.Issue, state: State | None, last: State | None, seconds: float) -> str:
    if state is None and last is not None:
        return (
            f"{issue} was {last.phase} when it last answered, and does not answer after {seconds:g} s: "
            "logs/control.log says why"
        )
    if state is None:
        return f"no run of {issue} was started within {seconds:g} s: neither webhook nor intake saw the label"
    why = explain.explain(state, datetime.now(UTC))
    return f"{issue} is still {state.phase} after {seconds:g} s: it waits for {why.waits_for}"


def located(failed: failures.Failed, state: Path) -> failures.Failed:
    """The same failure, with the directory that explains it."""
    told = failures.Failed(f"{str(failed).rstrip('.')}; logs and state are kept in {state}")
    told.exit_code = failed.exit_code
    return told
