"""What an agent wrote, turn by turn: found in the artifacts, parsed by its backend, put into short lines."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from activities import artifact_store
from cli import render
from domain import agent, refs
from integrations.agent import registry

_TURN: Final = re.compile(r"turn-(\d{1,6})\.jsonl")
_TAIL_BYTES: Final = 256 * 1024
_LINE: Final = 400
_MARKS: Final = {
    agent.EventKind.SESSION: "·",
    agent.EventKind.TEXT: "",
    agent.EventKind.TOOL: "→",
    agent.EventKind.COST: "$",
    agent.EventKind.RETRY: "↻",
    agent.EventKind.ERROR: "✗",
    agent.EventKind.RESULT: "■",
}

Parser = Callable[[bytes], list[agent.Event]]


def key(issue: refs.Issue, turn: int) -> str:
    """Where the artifacts hold the output of one turn."""
    return artifact_store.turn_key(issue.workflow_id, turn)


def writer(artifacts: Path, issue: refs.Issue, turn: int) -> str:
    """The backend that wrote a turn; empty when the turn does not say so."""
    with suppress(OSError, UnicodeDecodeError):
        return (artifacts / artifact_store.writer_key(issue.workflow_id, turn)).read_text("utf-8").strip()
    return ""


def turns(artifacts: Path, issue: refs.Issue) -> list[int]:
    """The turns whose output is on this machine, in order."""
    folder = (artifacts / key(issue, 1)).parent
    found = (_TURN.fullmatch(path.name) for path in folder.glob("turn-*.jsonl"))
    return sorted(int(match[1]) for match in found if match)


def newest(artifacts: Path, issue: refs.Issue) -> int | None:
    """The turn that was written to last: a run that was started again counts its turns from 1 again."""
    return max(turns(artifacts, issue), key=lambda turn: _written(artifacts / key(issue, turn)), default=None)


def after(artifacts: Path, issue: refs.Issue, turn: int) -> list[int]:
    """The turns that this run took after `turn`; higher ones that are older were an earlier run's."""
    since = _written(artifacts / key(issue, turn))
    return [t for t in turns(artifacts, issue) if t > turn and _written(artifacts / key(issue, t)) >= since]


def parser(backend: str) -> Parser:
    """The parser of a backend's output; without a known backend, each line that is text is a text."""
    known = registry.backends(registry.AgentSettings()).get(backend)
    return known.parse if known is not None else _plain


def lines(event: agent.Event) -> list[str]:
    """The event for a person; empty where it says nothing worth a line."""
    if event.kind not in _MARKS:
        return []
    mark = _MARKS[event.kind]
    words = [render.clean(line)[:_LINE] for line in event.text.splitlines() if line.strip()]
    if event.kind is agent.EventKind.SESSION:
        words = [f"session {render.clean(event.session_id)}"] if event.session_id else []
    if event.kind is agent.EventKind.COST:
        words = [f"{event.cost_usd:.2f} USD so far"] if event.cost_usd is not None else []
    if event.kind is agent.EventKind.RESULT:
        cost = f", {event.cost_usd:.2f} USD" if event.cost_usd is not None else ""
        words = [f"{event.outcome or 'ended'}{cost}", *words]
    return [f"{mark} {word}".strip() for word in words]


def tail(artifacts: Path, issue: refs.Issue, backend: str, most: int) -> list[str]:
    """The last lines of the newest turn; empty when its output is not on this machine."""
    turn = newest(artifacts, issue)
    if turn is None:
        return []
    parse = parser(writer(artifacts, issue, turn) or backend)
    with (artifacts / key(issue, turn)).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read()
    return [line for raw in data.splitlines() for event in parse(raw) for line in lines(event)][-most:]


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


class Tap:
    """Reads whole lines of a file that grows; a line that is not finished yet is left for the next time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, *, rest: bool = False) -> Iterator[bytes]:
        """Every line since the last call; with `rest` also a last one without an end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n") and not rest:
                        return
                    self._offset += len(line)
                    yield line.rstrip(b"\r\n")
        except FileNotFoundError:
            return


def _plain(line: bytes) -> list[agent.Event]:
    return [agent.Event(kind=agent.EventKind.TEXT, text=line.decode("utf-8", "replace"))] if line.strip() else []
