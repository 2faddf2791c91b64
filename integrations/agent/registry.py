"""The agents and judges that this installation knows, as tables. A new one is a module and a line here."""

from collections.abc import Callable
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain import errors
from integrations.agent import judge, port
from integrations.agent.claude import ClaudeBackend, ClaudeSettings  # the modules' names are fields below
from integrations.agent.codex import CodexBackend, CodexSettings
from integrations.agent.gemini import GeminiBackend, GeminiSettings
from integrations.agent.kimi import KimiBackend, KimiSettings
from integrations.agent.opencode import OpencodeBackend, OpencodeSettings
from integrations.agent.scripted import ScriptedBackend, ScriptedSettings


class AgentSettings(BaseModel):
    """One section a backend; a section that is not given has its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claude: ClaudeSettings = Field(default_factory=ClaudeSettings)
    codex: CodexSettings = Field(default_factory=CodexSettings)
    gemini: GeminiSettings = Field(default_factory=GeminiSettings)
    kimi: KimiSettings = Field(default_factory=KimiSettings)
    opencode: OpencodeSettings = Field(default_factory=OpencodeSettings)
    scripted: ScriptedSettings = Field(default_factory=ScriptedSettings)


BACKENDS: Final[dict[str, Callable[[AgentSettings], port.AgentBackend]]] = {
    "claude": lambda settings: ClaudeBackend(settings.claude),
    "codex": lambda settings: CodexBackend(settings.codex),
    "gemini": lambda settings: GeminiBackend(settings.gemini),
    "kimi": lambda settings: KimiBackend(settings.kimi),
    "opencode": lambda settings: OpencodeBackend(settings.opencode),
    "scripted": lambda settings: ScriptedBackend(settings.scripted),
}

JUDGES: Final[dict[str, Callable[[AgentSettings, judge.Runner, str], judge.Judge]]] = {
    "none": lambda settings, runner, model: judge.NoJudge(),
    "claude": lambda settings, runner, model: judge.ClaudeJudge(runner, settings.claude, model=model),
    "scripted": lambda settings, runner, model: judge.ScriptedJudge(settings.scripted),
}


def backends(settings: AgentSettings) -> dict[str, port.AgentBackend]:
    """Every backend by its name; whether one can run here is for `discover` to say."""
    return {name: make(settings) for name, make in BACKENDS.items()}


def judge_named(name: str, settings: AgentSettings, runner: judge.Runner, model: str = "") -> judge.Judge:
    """The judge of that name.

    Raises:
        ConfigurationError: there is none.
    """
    make = JUDGES.get(name)
    if make is None:
        raise errors.ConfigurationError(
            f"judge is '{name}', the accepted values are {sorted(JUDGES)}: correct the setting"
        )
    return make(settings, runner, model)
