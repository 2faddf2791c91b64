"""The stage of `tests.agents` for the CLIs of the slow tier: what differs in their programs, tools and protocols."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain import agent
from integrations.agent import gemini, kimi, opencode, port
from tests.activities.agent_host import Host
from tests.agents import clis, model_server, servers_chat, servers_gemini
from tests.agents.stage import KEY, Stage

_TARGET = "test-agents-slow"
GEMINI = clis.Cli("gemini", "0.61.0", _TARGET)
OPENCODE = clis.Cli("opencode", "1.18.33", _TARGET)
KIMI = clis.Cli("kimi", "2.1.0", _TARGET)
ALL = (GEMINI, OPENCODE, KIMI)
NODE = clis.Cli("node", "22.23.3", _TARGET)
"""What Kimi Code needs; the other CLIs are content with an older one."""
_KEY_VARIABLES = {"gemini": "GEMINI_API_KEY", "opencode": "MODEL_KEY", "kimi": "KIMI_API_KEY"}
_NOWHERE = "http://127.0.0.1:9"
"""The discard port: what these CLIs ask beside their model (a list of models, a plugin) is refused at once."""


@dataclass(frozen=True)
class SlowStage(Stage):
    def request(self, prompt: str = "Do it.", **more: Any) -> agent.TurnRequest:
        return super().request(prompt, **{"limits": agent.Limits(total_seconds=55), **more})

    def write(self, name: str, text: str) -> model_server.Reply:
        match self.cli.program:
            case "gemini":
                return model_server.call("write_file", file_path=name, content=text)
            case "opencode":
                return model_server.call("write", filePath=name, content=text)
            case _:
                return model_server.call("Write", path=name, content=text)

    def shell(self, command: str) -> model_server.Reply:
        match self.cli.program:
            case "gemini":
                return model_server.call("run_shell_command", command=command)
            case "opencode":
                return model_server.call("bash", command=command, description="a step of the script")
            case _:
                return model_server.call("Bash", command=command)

    def read(self, name: str) -> model_server.Reply:
        match self.cli.program:
            case "gemini":
                return model_server.call("read_file", file_path=name)
            case "opencode":
                return model_server.call("read", filePath=str(self.host.worktree / name))
            case _:
                return model_server.call("Read", path=name)

    @property
    def refused(self) -> tuple[str, ...]:
        """The names of the writing tool and of the shell, as a denial tells them."""
        named = {"gemini": ("write_file", "run_shell_command"), "opencode": ("write", "bash")}
        return named.get(self.cli.program, ("Write", "Bash"))


def backend_of(cli: clis.Cli, url: str, **settings: Any) -> port.AgentBackend:
    match cli.program:
        case "gemini":
            facts = {"model": "gemini-2.5-flash", "base_url": url, "max_attempts": 2, **settings}
            return gemini.GeminiBackend(gemini.GeminiSettings(**facts))
        case "opencode":
            facts = {"model": "scripted", "base_url": f"{url}/v1", "env_key": "MODEL_KEY", **settings}
            return opencode.OpencodeBackend(opencode.OpencodeSettings(**facts))
        case _:
            facts = {"model": "scripted", "base_url": f"{url}/v1", "max_attempts": 2, **settings}
            return kimi.KimiBackend(kimi.KimiSettings(**facts))


@asynccontextmanager
async def standing(cli: clis.Cli, folder: Path, **settings: Any) -> AsyncIterator[SlowStage]:
    """A stage with the scripted model up; the model's requests end with the context."""
    programs = [str(cli.folder())]
    if cli.program == "kimi":
        programs.append(str(NODE.folder()))
    wire = servers_gemini.Gemini() if cli.program == "gemini" else servers_chat.Chat()
    async with model_server.serving(wire) as model:
        backend = backend_of(cli, model.url, **settings)
        environment = {
            "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
            _KEY_VARIABLES[cli.program]: KEY,
            "HTTPS_PROXY": _NOWHERE,
            "NO_PROXY": "127.0.0.1",
        }
        found = await asyncio.to_thread(backend.discover, environment)
        assert found.ready, found.why_not
        yield SlowStage(Host.at(folder), cli, backend, environment, model, found)


def elsewhere(stage: SlowStage, folder: Path) -> SlowStage:
    """The same agent on another host: the worktree at the same path, the home empty."""
    host = Host(folder, stage.host.worktree, stage.host.script)
    return dataclasses.replace(stage, host=host)
