"""`fettle demo`: a forge with a sample project, an issue, and its run up to the merge, on its own installation."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from cli import background, failures, render, sample, story, trial, walls
from domain.policy import ApprovalMode, RepositoryPolicy
from workers import connection, embedded_forge, settings, state_directory

SCRIPTED_SECONDS: Final = 180.0
AGENT_SECONDS: Final = 3600.0
_CI_POLL_SECONDS: Final = "2"
_INTAKE_SECONDS: Final = "5"
_AGENTS: Final = {
    "scripted": "scripted (plays a recorded fix; no model is called)",
    "claude": "claude (calls a model, with the key or credentials file of this environment)",
}


def demonstrate(state: Path | None, agent: str, *, keep: bool, as_json: bool) -> None:
    """Take the sample issue to its merge.

    Raises:
        failures.Failed: it was not merged; the message says why and where the logs are.
    """
    folder = state_directory.prepare(state or Path(tempfile.mkdtemp(prefix="fettle-demo-")))
    background.isolate(background.clean_environment({"FETTLE_STATE_DIR": str(folder)}))
    known = settings.load()
    try:
        around = connection.run(walls.for_our_own(known) if agent == "scripted" else walls.for_a_model(known))
    except failures.Failed:
        if state is None:  # nothing was started, so there is nothing in it to look at
            shutil.rmtree(folder, ignore_errors=True)
        raise
    environment = _environment(folder, agent, walls.variables(known, around))
    background.isolate(environment)
    merged = False
    try:
        result, made = connection.run(trial.play(_plan(folder, agent, around, environment, keep=keep)))
        merged = result.outcome == "merged"
        _report(result, made, keep=keep)
        if as_json:
            render.emit_json(result)
        if not merged:
            reason = result.reason or "no reason given"
            raise failures.Failed(f"the run ended in {result.outcome} without a merge, {reason}")
    except failures.Failed as failed:
        raise trial.located(failed, folder) from failed
    except SystemExit:  # interrupted: a directory of ours has served
        merged = True
        raise
    finally:
        if state is None and merged and not (keep and background.running(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, agent: str, sandbox: dict[str, str]) -> dict[str, str]:
    return background.clean_environment(
        {
            **sandbox,
            "FETTLE_STATE_DIR": str(folder),
            "FETTLE_DEFAULT_AGENT": agent,
            "FETTLE_SCRIPTED": str(sample.script()),
            "FETTLE_CI_POLL_SECONDS": _CI_POLL_SECONDS,
            "FETTLE_INTAKE_INTERVAL_SECONDS": _INTAKE_SECONDS,
        }
    )


def _plan(folder: Path, agent: str, around: walls.Walls, environment: dict[str, str], *, keep: bool) -> trial.Plan:
    async def file(floor: trial.Floor) -> trial.Filed:
        person = await sample.seed(floor.made.forge_url, embedded_forge.admin_token(floor.made.state))
        policy = RepositoryPolicy(
            approval_mode=ApprovalMode.FULL_AUTO, verify_command=sample.VERIFY, agent=agent, base_branch="main"
        )
        await floor.register(sample.REPO, policy)
        return trial.Filed(*await floor.desk.file_issue(sample.REPO, person, *sample.issue()))

    return trial.Plan(
        heading=f"Fettle demo: an issue in {sample.REPO}, up to its merge",
        agent=_AGENTS[agent],
        around=around.words,
        state=folder,
        environment=environment,
        seconds=SCRIPTED_SECONDS if agent == "scripted" else AGENT_SECONDS,
        file=file,
        keep=keep,
    )


def _report(result: trial.Result, made: background.Installation, *, keep: bool) -> None:
    lines = [
        ("outcome", result.outcome),
        ("merged as", result.merge_sha),
        ("seconds", f"{sum(phase.seconds for phase in result.phases):.1f}, {len(result.phases)} phases"),
        ("history", f"{result.history_events} events"),
    ]
    if keep:
        lines += [
            ("issue", result.issue),
            ("pull request", result.pull_request),
            ("Temporal", result.temporal_ui),
            ("still running", f"process {made.pid}; stop it with: kill {made.pid}"),
            ("look around", f"FETTLE_STATE_DIR={made.state} fettle fleet --all"),
            ("start it again", f"fettle up --state {made.state}"),
        ]
    else:
        lines.append(("look around", "nothing is left running; fettle demo --keep leaves it, with the pages above"))
    story.summary(lines)
