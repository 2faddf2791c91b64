"""What is kept of a process that says much: everything its verdict is made of."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from activities import turn_process
from domain import agent
from integrations.agent import opencode
from sandbox import process

STEPS = 3000


class Log:
    def write(self, data: bytes) -> None:
        """The raw output is not looked at here."""


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A long turn of opencode: a call that was rejected at its beginning, then thousands of steps at a price."""

    def line(kind: str, **part: Any) -> str:
        return json.dumps({"type": kind, "sessionID": "ses_1", "part": part})

    tokens = {"input": 10, "output": 1, "cache": {"read": 2}}
    rejected = {"status": "error", "error": "The user rejected permission to use this specific tool call."}
    lines = [line("tool_use", tool="bash", state=rejected)]
    for _ in range(STEPS - 1):
        lines += [line("text", text="x"), line("step_finish", reason="tool-calls", cost=0.01, tokens=tokens)]
    lines += [line("text", text="Done."), line("step_finish", reason="stop", cost=0.01, tokens=tokens)]
    path = tmp_path / "stream.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


async def test_the_verdict_on_a_long_turn_counts_all_of_it(stream: Path, tmp_path: Path) -> None:
    backend = opencode.OpencodeBackend()
    spec = process.Spec(
        argv=(sys.executable, "-c", f"import sys; sys.stdout.write(open({str(stream)!r}).read())"),
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        stderr=tmp_path / "stderr.log",
    )
    supervisor = turn_process.Supervisor(
        spec, backend, agent.Limits(), log=Log(), on_start=lambda _: None, on_event=lambda _: None
    )
    loop = asyncio.get_running_loop()
    ended = await supervisor.run(loop.create_future(), loop.create_future())
    verdict = backend.fold(ended.events, turn_process.exit_code_of(ended.status))
    assert (verdict.outcome, verdict.summary) == (agent.Outcome.FINISHED, "Done.")
    assert verdict.cost_usd == pytest.approx(STEPS * 0.01)
    assert verdict.usage == agent.Usage(input_tokens=STEPS * 10, cached_tokens=STEPS * 2, output_tokens=STEPS)
    assert verdict.denials == ("bash",)
    assert len(ended.events) == STEPS + 1 + 2000, "words are bounded, the newest stay"


def test_the_newest_words_are_kept_whole_and_earlier_ones_bounded() -> None:
    """An answer is checked against its schema: half of it is none."""
    kept = turn_process._Kept()
    long = "x" * 50_000
    for text in (f"1{long}", f"2{long}"):
        kept.add(agent.Event(kind=agent.EventKind.TEXT, text=text))
    kept.add(agent.Event(kind=agent.EventKind.TOOL, text=f"3{long}"))
    assert [(event.text[0], len(event.text)) for event in kept.all()] == [("1", 8000), ("2", 50_001), ("3", 8000)]
