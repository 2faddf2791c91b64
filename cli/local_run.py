"""`fettle run`: an issue worked on in a copy of the user's own repository, and the merged result brought back."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli import background, checkout, failures, render, story, trial, walls
from domain import refs
from domain.policy import ApprovalMode, NoChecks, RepositoryPolicy
from integrations.agent import registry, scripted
from workers import agents, connection, settings, state_directory

OWNER: Final = "local"
FOLDER: Final = "local"
"""Below the state directory, so that a real installation and its forge are left alone."""
_RESULTS: Final = "results"
_MAX_COPIES: Final = 1000
_NO_CHECK_SECONDS: Final = 1.0
"""The checkout was read: where it declares no checks, none will be registered."""


@dataclass(frozen=True)
class Asked:
    """What was typed."""

    repo: Path
    title: str
    body: str
    agent: str
    script: Path | None
    verify: str
    mode: ApprovalMode
    apply: bool
    state: Path | None
    minutes: float


def take_on(asked: Asked, *, as_json: bool) -> None:
    """Work on the issue until its change is merged in the copy.

    Raises:
        failures.Failed: it was not merged, or the result cannot be applied.
    """
    if not asked.title.strip():
        raise failures.Usage("the issue has no title: say what is to be done, --title 'Fix the rounding'")
    mine = checkout.Checkout.at(asked.repo)
    if asked.apply:
        mine.refuse_dirty()
    known = settings.load()
    folder = state_directory.prepare(asked.state or known.state_dir / FOLDER)
    agent = _agent(asked, known, join=background.running(folder) is not None)
    _say(mine, asked)
    around = connection.run(walls.for_our_own(known) if agent == "scripted" else walls.for_a_model(known))
    environment = background.clean_environment(
        {**_variables(folder, agent, asked, known), **walls.variables(known, around)}
    )
    background.isolate(environment)
    repo: list[refs.Repository] = []
    kept: list[Path] = []

    async def file(floor: trial.Floor) -> trial.Filed:
        repo.append(await _copy(floor, mine))
        await floor.register(repo[0], _policy(asked, mine, agent))
        person = await floor.desk.person(OWNER)
        return trial.Filed(*await floor.desk.file_issue(repo[0], person, asked.title, asked.body))

    async def after(floor: trial.Floor, result: trial.Result) -> None:
        if result.outcome == "merged":
            kept.append(folder / _RESULTS / f"{repo[0].name}.git")
            checkout.keep_copy(f"{floor.made.forge_url}/{repo[0]}.git", kept[0])

    plan = trial.Plan(
        heading=f"{asked.title}, in a copy of {mine.path}",
        agent="scripted (plays a script; no model is called)" if agent == "scripted" else agent,
        around=around.words,
        state=folder,
        environment=environment,
        seconds=asked.minutes * 60,
        file=file,
        after=after,
        join=asked.script is None,
    )
    try:
        result, _ = connection.run(trial.play(plan))
        source = _merged(result, mine, kept, as_json=as_json)
    except failures.Failed as failed:
        raise trial.located(failed, folder) from failed
    _finish(result, mine, asked, source, as_json=as_json)


def _merged(result: trial.Result, mine: checkout.Checkout, kept: list[Path], *, as_json: bool) -> Path:
    """Where the merged result is kept.

    Raises:
        failures.Failed: there is none.
    """
    if kept:
        return kept[0]
    if as_json:
        render.emit_json(_shown(result, mine, "", applied=False))
    reason = result.reason.strip().rstrip(":") or "no reason given"
    raise failures.Failed(f"the run ended in {result.outcome} without a merge, {reason}")


def _finish(result: trial.Result, mine: checkout.Checkout, asked: Asked, source: Path, *, as_json: bool) -> None:
    fetch = f"git fetch {source} {mine.branch}"
    if asked.apply:
        mine.fast_forward(source, mine.branch, result.merge_sha)
    if as_json:
        render.emit_json(_shown(result, mine, str(source), applied=asked.apply))
    taken = (
        f"{mine.branch} in {mine.path} is now at it" if asked.apply else f"{fetch} && git merge --ff-only FETCH_HEAD"
    )
    story.summary(
        [
            ("outcome", result.outcome),
            ("merged as", result.merge_sha),
            ("in", str(source)),
            ("applied" if asked.apply else "take it with", taken),
        ]
    )


def _shown(result: trial.Result, mine: checkout.Checkout, source: str, *, applied: bool) -> dict[str, Any]:
    return {**result.model_dump(), "fetch_from": source, "branch": mine.branch, "applied": applied}


def _agent(asked: Asked, known: settings.Settings, *, join: bool) -> str:
    """The agent that was named, else the configured one, else the first that this machine has.

    Args:
        asked: what was typed.
        known: the configured agent, and how the agents are set up.
        join: an installation runs already, and knows by its own settings whether the named one can run.

    Raises:
        failures.Usage: the name is unknown, or contradicts --script.
        failures.Failed: none can run here; the message says why for each.
    """
    if asked.script is not None:
        if asked.agent not in {"", "scripted"}:
            raise failures.Usage(f"--script is for the scripted agent and --agent is {asked.agent}: drop one of them")
        if not asked.script.is_file():
            raise failures.Usage(f"--script names {asked.script}, which is no file: correct the path")
        if problem := scripted.problem_with(asked.script):
            raise failures.Usage(f"--script names {asked.script}, which {problem}: correct the file")
        return "scripted"
    found = registry.backends(agents.backend_settings(known))
    if asked.agent and asked.agent not in found:
        raise failures.Usage(f"--agent is {asked.agent}, which is not known: name one of {', '.join(sorted(found))}")
    if asked.agent and join:
        return asked.agent
    wanted = [asked.agent] if asked.agent else [known.default_agent, *found]
    why = {}
    for name in dict.fromkeys(name for name in wanted if name in found and (asked.agent or name != "scripted")):
        discovery = found[name].discover(os.environ)
        if discovery.ready:
            return name
        why[name] = discovery.why_not
    reasons = "; ".join(f"{name}: {reason}" for name, reason in why.items())
    raise failures.Failed(
        f"no agent can run on this machine ({reasons}): install one and log in, or play a script with --script FILE"
    )


def _policy(asked: Asked, mine: checkout.Checkout, agent: str) -> RepositoryPolicy:
    untested = {} if mine.declares_checks else {"check_registration_seconds": _NO_CHECK_SECONDS}
    return RepositoryPolicy(
        approval_mode=asked.mode,
        verify_command=asked.verify,
        base_branch=mine.branch,
        agent=agent,
        no_checks=NoChecks.MERGE if asked.verify else NoChecks.HOLD,
        **untested,
    )


def _say(mine: checkout.Checkout, asked: Asked) -> None:
    """What a reader of the result should know beforehand."""
    if mine.is_dirty:
        render.progress(f"{mine.path} has uncommitted changes: they are not part of the copy")
    if not mine.declares_checks and not asked.verify:
        render.progress(
            f"{mine.path} declares no checks ({checkout.CI_FILE}) and no --verify is given, so nothing tests the "
            "change: the run will wait for an approval before it merges"
        )


def _variables(folder: Path, agent: str, asked: Asked, known: settings.Settings) -> Mapping[str, str]:
    found = {
        "FETTLE_STATE_DIR": str(folder),
        "FETTLE_DEFAULT_AGENT": agent,
        "FETTLE_JUDGE": known.judge if known.judge != "scripted" else "none",
        "FETTLE_CI_POLL_SECONDS": "2",
        "FETTLE_INTAKE_INTERVAL_SECONDS": "5",
    }
    if known.claude_sandboxed:
        found["FETTLE_CLAUDE_SANDBOXED"] = "true"
    if known.claude_credentials_file:
        found["FETTLE_CLAUDE_CREDENTIALS_FILE"] = str(known.claude_credentials_file)
    return found | ({"FETTLE_SCRIPTED": str(asked.script.absolute())} if asked.script else {})


async def _copy(floor: trial.Floor, mine: checkout.Checkout) -> refs.Repository:
    """A copy that no earlier run has worked on."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", mine.path.name).strip("-.") or "repository"
    await floor.desk.person(OWNER)
    for number in range(1, _MAX_COPIES):
        repo = refs.Repository(owner=OWNER, name=f"{name}-{number}")
        if not await floor.desk.has(repo):
            await floor.desk.take_in(repo, mine.path, mine.branch)
            return repo
    raise failures.Failed(f"there are {_MAX_COPIES} copies of {mine.path} in {floor.made.state}: remove that directory")
