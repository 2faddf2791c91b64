"""Every command of the documentation: run on a real installation, or marked with the reason why not and then parsed."""

import asyncio
import functools
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from domain import policy, refs, run
from tests.docs import grammar, pages
from tests.e2e import command
from tests.e2e.stack import Stack
from tests.e2e.waiting import until
from workers import settings, settings_sources

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

_HEAD: Final = "3f2c1ab"
"""Stands for the head of the run that a command names."""
_ACTION: Final = "toolu_01"
"""Stands for the action that the run waits with."""
_ISSUE: Final = re.compile(r"acme/api[#/](\d+)")
_AT_ITS_GATE: Final = {12, 13, 16, 17, 18}
_MERGED: Final = {1}
"""Not named by any page: what it leaves is a merge queue to look at."""
_ENDED: Final = {14}
_WORKING: Final = {15, 19}
_ASKING: Final = {20, 21}
_TAKEN_OVER: Final = {22}
"""In what state a page finds the issue of each number."""
_ENDINGS: Final = {
    "README.md": {12: run.Phase.DONE, 13: run.Phase.DONE},
    "docs/getting-started.md": {12: run.Phase.DONE},
    "docs/steering.md": {
        12: run.Phase.DONE,
        13: run.Phase.REJECTED,
        15: run.Phase.CANCELLED,
        16: run.Phase.DONE,
        17: run.Phase.REJECTED,
        18: run.Phase.DONE,
        19: run.Phase.CANCELLED,
    },
}
"""What has become of them when every command of the page was run."""
_RUN_PAGES: Final = [page for page in pages.PAGES if any(not b.not_run and b.commands for b in pages.shell(page))]
_NOT_RUN: Final = [(b, c) for page in pages.PAGES for b in pages.shell(page) if b.not_run for c in b.commands]
_PROGRAMS: Final = frozenset({"cp", "docker", "export", "fettle", "make", "temporal"})
"""What may stand in a block that is not run."""


@dataclass
class Told:
    """What became of a page's commands."""

    failures: list[str] = field(default_factory=list)
    endings: dict[int, run.Phase] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A repository of its own for one page, with the runs that the page speaks of."""

    stack: Stack
    page: Path
    folder: Path
    repo: refs.Repository
    issues: dict[int, refs.Issue]

    async def play(self) -> Told:
        """Run the page's commands in order."""
        told = Told()
        for block in pages.shell(self.page):
            for line in block.commands if not block.not_run else ():
                if problem := await self._run(await self._meant(line)):
                    told.failures.append(f"{block.page}:{block.line}: {line}\n{problem}")
        for number in _ENDINGS.get(pages.name(self.page), {}) if not told.failures else ():
            told.endings[number] = (await self.stack.ended(self.issues[number])).phase
        return told

    async def _meant(self, line: str) -> str:
        """The page's names replaced by those of this installation."""
        if _HEAD in line:
            (number,) = _ISSUE.findall(line)
            state = await self.stack.state_of(self.issues[int(number)])
            assert state is not None
            assert state.change is not None
            line = line.replace(_HEAD, state.change.head_sha)
        if _ACTION in line:
            (number,) = _ISSUE.findall(line)
            state = await self.stack.state_of(self.issues[int(number)])
            assert state is not None
            assert state.question is not None
            line = line.replace(_ACTION, state.question.id)
        return line.replace("acme/api", str(self.repo))

    async def _run(self, line: str) -> str:
        """What is wrong with how it ended; empty when all is well."""
        up = self.stack.up()
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", line),
            env={
                **self.stack.environment,
                "PATH": grammar.path(),
                "FETTLE_STATE_DIR": str(self.stack.state),
                "TEMPORAL_ADDRESS": up["temporal_address"],
                "FORGE_URL": up["forge_url"],
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return "" if process.returncode == 0 else f"ended with {process.returncode}: {out.decode()[-1500:]}"


async def _prepare(stack: Stack, folder: Path) -> list[Stage]:
    """A repository for each page that decides about runs; the pages that only look at runs share one."""
    stages = []
    alone = [[page] for page in _RUN_PAGES if pages.name(page) in _ENDINGS]
    for together in [*alone, [page for page in _RUN_PAGES if pages.name(page) not in _ENDINGS]]:
        name = together[0].stem.lower()
        texts = [block.text for page in together for block in pages.shell(page) if not block.not_run]
        numbers = sorted({int(number) for text in texts for number in _ISSUE.findall(text)} | _MERGED)
        repo = await stack.repository(name, {}, approval_mode=policy.ApprovalMode.REVIEW_MERGE)
        issues = await _issues(stack, repo, name, numbers)
        stages += [Stage(stack, page, folder, repo, issues) for page in together]
    return stages


async def _issues(stack: Stack, repo: refs.Repository, name: str, numbers: list[int]) -> dict[int, refs.Issue]:
    """The issues up to the highest number, and a run for each that is named."""
    issues = {}
    for number in range(1, max(numbers) + 1):
        issue = await stack.people.file(repo, f"Change file {number}")
        assert issue.number == number
        if number in numbers:
            issues[number] = issue
            stack.script(issue, *_turns(stack, name, number))
    for issue in issues.values():
        await stack.people.label(issue)
    return issues


def _turns(stack: Stack, name: str, number: int) -> list[list[dict[str, object]]]:
    change: list[dict[str, object]] = [
        {"say": "I change it."},
        {"write": {"path": f"{number}.txt", "content": f"{number}\n"}},
    ]
    if number in _ASKING:
        return [[{"ask": {"tool": "Bash", "text": "git push --force", "run": "true"}}, *change]]
    if number in _TAKEN_OVER:
        return [change, [{"say": "I have seen what changed."}]]
    if number in _WORKING:
        return [[*stack.gate(f"{name}-{number}").steps, *change]]
    return [[{"say": "There is nothing to do."}]] if number in _ENDED else [change]


async def _settled(stage: Stage) -> None:
    for number, issue in stage.issues.items():
        if number in _ENDED:
            await stage.stack.ended(issue)
        elif number in _WORKING:
            await stage.stack.entered(issue, run.Phase.IMPLEMENTING, 60)
        elif number in _ASKING:
            await until(functools.partial(_asks, stage.stack, issue), 60, f"a question of {issue}")
        else:
            state = await stage.stack.entered(issue, run.Phase.AWAITING_APPROVAL, 60)
            assert state.change is not None, state.ending
            if number in _MERGED and not state.phase.terminal:
                await stage.stack.fettle("approve", str(issue), "--head", state.change.head_sha)
                await stage.stack.merged(issue)


async def _asks(stack: Stack, issue: refs.Issue) -> bool:
    state = await stack.state_of(issue)
    return state is not None and state.question is not None


@pytest_asyncio.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Told]]:
    """Every page's commands, run side by side: pages know nothing of each other."""
    folder = tmp_path_factory.mktemp("docs")
    stack = Stack(folder / "state", FETTLE_GATE_POLL_SECONDS="600")
    try:
        await stack.start()
        stages = await _prepare(stack, folder)
        await asyncio.gather(*map(_settled, {stage.repo: stage for stage in stages}.values()))
        played = await asyncio.gather(*(stage.play() for stage in stages))
        yield {pages.name(stage.page): each for stage, each in zip(stages, played, strict=True)}
    finally:
        await stack.stop()


@pytest.mark.parametrize("page", _RUN_PAGES, ids=pages.name)
async def test_commands_do_what_the_page_says(told: dict[str, Told], page: Path) -> None:
    found = told[pages.name(page)]
    assert not found.failures, "\n\n".join(found.failures)
    assert found.endings == _ENDINGS.get(pages.name(page), {})


@pytest.mark.parametrize(("block", "line"), _NOT_RUN, ids=[f"{b.page}:{b.line}" for b, _ in _NOT_RUN])
def test_command_that_is_not_run_would_be_accepted(block: pages.Block, line: str) -> None:
    program, *rest = pages.words(line)
    assert program in _PROGRAMS, f"nothing checks {program}: run it, or teach this test"
    match program:
        case "fettle":
            grammar.parse_fettle(rest)
        case "temporal":
            grammar.check_options("temporal", rest)
        case "make":
            assert rest[0] in re.findall(r"^([a-z]+):", (pages.ROOT / "Makefile").read_text(), re.MULTILINE)
        case "export":
            key = rest[0].partition("=")[0].removeprefix(settings_sources.PREFIX).lower()
            section, _, name = key.rpartition(settings_sources.NESTED)
            group = settings.Settings.model_fields[section].annotation if section else settings.Settings
            assert name in getattr(group, "model_fields", {})
        case "docker":
            _check_compose(rest)
        case "cp":
            assert (pages.ROOT / rest[0]).exists()


def _check_compose(words: list[str]) -> None:
    """Services that are named exist, and so does a command that is run inside of one."""
    assert words[0] == "compose"
    services = re.findall(r"^  ([a-z-]+):$", (pages.ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    for place, word in enumerate(words):
        if word.startswith("fettle-"):
            assert word in services
        if word == "fettle":
            grammar.parse_fettle(words[place + 1 :])


def test_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """The first thing a stranger reads: it must be true, line by line, but for times, numbers and ports."""
    shown = next(b for b in pages.shell(pages.ROOT / "README.md") if b.language == "console").output
    assert len(shown) >= 8
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo"],
        env=command.environment(TMPDIR=str(tmp_path), COLUMNS="200"),
        cwd=pages.ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    printed = [_timeless(line) for line in done.stderr.splitlines()]
    at = 0
    for line in shown:
        wanted = _timeless(line)
        assert wanted in printed[at:], f"not printed, or not in this place: {line}\n{os.linesep.join(printed)}"
        at += printed[at:].index(wanted) + 1


def _timeless(line: str) -> str:
    line = re.sub(r"^\[ *\d+\.\d s\]", "[time]", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:port", line)
    return re.sub(r"\b[0-9a-f]{9}\b", "sha", line).rstrip()
