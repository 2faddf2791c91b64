"""The port for judgements: a prompt file and facts in, a validated model out, or `JudgeFailed`. It never decides.

A judge has no tools, no worktree and no session: what it may know is in the prompt. Where a run must go on without a
judgement, the caller states its rule; a failure here is never a verdict.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from domain import agent, errors
from integrations import prompts
from integrations.agent import claude, claude_stream, port, scripted, streams

Answer = TypeVar("Answer", bound=BaseModel)

_SECONDS: Final = 480.0
_NO_TOOLS: Final = "Bash,Read,Glob,Grep,LS,Edit,Write,NotebookEdit,WebFetch,WebSearch,Agent,Task,TodoWrite,Skill"
"""A denied tool disappears for the model. Reading is among them: a judgement is posted in public."""


class Judge(Protocol):
    @property
    def name(self) -> str:
        """`none` for the judge that never answers: callers then apply their rule without asking."""
        ...

    async def ask(self, prompt: str, inputs: Mapping[str, object], answer: type[Answer], *, run: str = "") -> Answer:
        """One judgement: `prompts/<prompt>.md` filled with `inputs`, answered as `answer`. `run` names whose it is.

        Raises:
            JudgeFailed: no answer, or none that fits `answer`.
            ConfigurationError: the prompt or its inputs are wrong.
        """
        ...


@dataclass(frozen=True)
class Exit:
    """How a judge's process ended."""

    exit_code: int | None
    stdout: bytes
    stderr: str = ""
    timed_out: bool = False


class Runner(Protocol):
    """Runs one command to its end: confined, in an empty directory, with a home that is made for it and removed."""

    async def __call__(
        self, make: Callable[[Path], port.Command], *, passed: tuple[str, ...], seconds: float
    ) -> Exit: ...


@dataclass(frozen=True)
class NoJudge:
    """Stands where no model is configured."""

    name: str = "none"

    async def ask(self, prompt: str, inputs: Mapping[str, object], answer: type[Answer], *, run: str = "") -> Answer:
        raise errors.JudgeFailed(
            f"'{prompt}' asks for a judgement, no judge is configured: set judge, or rely on rules"
        )


@dataclass(frozen=True)
class ScriptedJudge:
    """Answers from the run's script: `"judge": {"<prompt>": <answer>}`.

    The answer is an object, or a list of `{"if_contains": TEXT, "unless_contains": TEXT, "answer": {...}}` of which the
    first that fits counts; both conditions are optional and look at every text among the inputs. An answer depends on
    its inputs alone, so asking again gives the same.
    """

    settings: scripted.ScriptedSettings = field(default_factory=scripted.ScriptedSettings)
    library: prompts.Library = field(default_factory=prompts.Library)
    name: str = "scripted"

    async def ask(self, prompt: str, inputs: Mapping[str, object], answer: type[Answer], *, run: str = "") -> Answer:
        self.library.render(prompt, inputs)  # what a real judge would refuse is refused here too
        script = self.settings.script_of(run)
        try:
            answers = json.loads(script.read_text(encoding="utf-8")).get("judge", {})
        except (OSError, ValueError) as error:
            raise errors.JudgeFailed(f"the script {script.name} of {run} cannot be read: {error}") from error
        return _validated(prompt, _chosen(answers.get(prompt), inputs), answer, f"script {script.name}")


@dataclass(frozen=True)
class ClaudeJudge:
    """Asks Claude Code with a JSON schema; the schema is checked again here, the CLI can end without an answer."""

    runner: Runner
    settings: claude.ClaudeSettings = field(default_factory=claude.ClaudeSettings)
    library: prompts.Library = field(default_factory=prompts.Library)
    model: str = ""
    name: str = "claude"

    async def ask(self, prompt: str, inputs: Mapping[str, object], answer: type[Answer], *, run: str = "") -> Answer:
        text = self.library.render(prompt, inputs).text
        schema = json.dumps(answer.model_json_schema())
        backend = claude.ClaudeBackend(self.settings)

        def make(home: Path) -> port.Command:
            backend.prepare(home)
            argv = [self.settings.program, "-p", "--output-format", "json", "--json-schema", schema]
            argv += ["--permission-mode", "default", "--setting-sources", "user", "--strict-mcp-config"]
            argv += ["--no-session-persistence", "--disallowedTools", _NO_TOOLS]
            if self.model:
                argv += ["--model", self.model]
            return port.Command(tuple(argv), claude.quiet_environment(self.settings, home), text.encode())

        ended = await self.runner(make, passed=self.settings.pass_environment, seconds=_SECONDS)
        if ended.timed_out:
            raise errors.JudgeFailed(f"'{prompt}' has no answer after {_SECONDS:.0f} s: ask again, or rely on rules")
        verdict = claude_stream.fold(claude_stream.parse(ended.stdout), ended.exit_code)
        if verdict.outcome is not agent.Outcome.FINISHED:
            words = (verdict.summary or ended.stderr).strip()[-400:]
            raise errors.JudgeFailed(f"'{prompt}' was not answered, claude ended with {verdict.outcome}: {words}")
        result = streams.json_object(ended.stdout) or {}
        return _validated(prompt, result.get("structured_output"), answer, "claude")


def _validated(prompt: str, found: Any, answer: type[Answer], source: str) -> Answer:
    if not streams.is_object(found):
        raise errors.JudgeFailed(f"'{prompt}' needs an answer as {answer.__name__}, {source} gave none: ask again")
    try:
        return answer.model_validate(found)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise errors.JudgeFailed(
            f"'{prompt}' needs an answer as {answer.__name__}, that of {source} is wrong in: {wrong or 'its shape'}"
        ) from error


def _chosen(found: Any, inputs: Mapping[str, object]) -> Any:
    if not isinstance(found, list):
        return found
    texts = "\n".join(value for value in inputs.values() if isinstance(value, str))
    for case in filter(streams.is_object, found):
        wanted, unwanted = streams.text_at(case, "if_contains"), streams.text_at(case, "unless_contains")
        if wanted in texts and not (unwanted and unwanted in texts):
            return case.get("answer")
    return None
