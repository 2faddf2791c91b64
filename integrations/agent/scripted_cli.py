"""A coding agent without a model: plays the steps of a recorded script, as a real process with a real session.

Run as `python -I scripted_cli.py --script FILE --session-id ID | --resume ID [--round N] [--answer JSON]`, prompt on
stdin, standard library only. It is the demo's and the tests' agent: every line it prints says `"scripted": true`.

The script is `{"name": ..., "turns": [{"steps": [{"say": "text"}, ...]}]}`; turn N of a session plays script turn N.
The session is kept under HOME, so a resumed process goes on at the first unfinished step. A step is recorded when it is
done; one that was cut off is done again, and each is written so that this leaves what doing it once leaves. `run` is
the exception that a real agent has as well: an interrupted command is run again.

Steps (`times` on crash, hang, api_error: how often it happens before the script goes on; 1 by default):
    {"say": TEXT}                                   {"write": {"path", "content"}}
    {"edit": {"path", "old", "new"}}                {"append": {"path", "content"}}
    {"delete": {"path"}}                            {"run": {"command", "expect_exit": 0}}
    {"sleep": SECONDS}                              {"wait_for_file": {"path", "seconds": 60}}
    {"cost": USD}  added to the session's total     {"commit": {"message"}}
    {"print_bytes": N}  one line of at least N      {"spawn_orphan": {"seconds", "path": ""}}
    {"crash": {"exit_code", "times"}}               {"hang": {"seconds": 3600, "busy": false, "times"}}
    {"refuse": TEXT}   {"limit": TEXT}              {"api_error": {"reason", "message", "retry_after_seconds", "times"}}
    {"ask": {"tool", "text", "run": COMMAND}}  ends the process with a question; then a yes runs the command
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

TRANSCRIPTS = ".scripted"
_SESSION_ID = re.compile(r"[0-9A-Za-z-]{8,64}")


class ScriptError(Exception):
    """The script asks for something that cannot be done; the turn fails with this sentence."""


class TurnEnded(Exception):
    """A step ended the turn with another outcome than finished."""

    def __init__(self, outcome: str, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


class Session:
    """The conversation on disk, saved whole after each step by a rename: a kill leaves the old or the new one."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path = path
        self.id: str = facts["id"]
        self.turns: list[dict[str, Any]] = facts["turns"]
        self.cost_usd: float = facts["cost_usd"]

    @classmethod
    def open(cls, session_id: str, *, resume: bool) -> "Session":
        if not _SESSION_ID.fullmatch(session_id):
            _usage(f"Error: Invalid session ID: {session_id}")
        path = Path(os.environ["HOME"], TRANSCRIPTS, f"{session_id}.json")
        if resume and not path.exists():
            _usage(f"Error: No conversation found with session ID: {session_id}")
        if not resume and path.exists():
            _usage(f"Error: Session ID {session_id} is already in use.")
        if resume:
            return cls(path, json.loads(path.read_text(encoding="utf-8")))
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, {"id": session_id, "turns": [], "cost_usd": 0.0})

    def turn_of(self, round_number: int) -> dict[str, Any]:
        """The last turn if it is unfinished or of this round, a new one otherwise."""
        last = self.turns[-1] if self.turns else None
        if last is None or (last["outcome"] and last["round"] != round_number):
            last = {"round": round_number, "done": 0, "outcome": "", "text": "", "intent": None, "times": 0}
            self.turns.append(last)
        last["round"] = round_number
        return last

    def save(self) -> None:
        facts = {"scripted": True, "id": self.id, "turns": self.turns, "cost_usd": self.cost_usd}
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


class Player:
    """Plays one turn. Each `_step_*` may be interrupted anywhere and is then called again with the same arguments."""

    def __init__(self, session: Session, turn: dict[str, Any], answer: dict[str, Any] | None) -> None:
        self._session, self._turn, self._answer = session, turn, answer

    def play(self, steps: list[dict[str, Any]]) -> None:
        while self._turn["done"] < len(steps):
            step = steps[self._turn["done"]]
            if len(step) != 1:
                raise ScriptError(f"a step has one key, this one has {sorted(step)}: {step!r}")
            [(verb, what)] = step.items()
            action = getattr(self, f"_step_{verb}", None)
            if action is None:
                raise ScriptError(f"'{verb}' is no step; the steps are listed in the docstring of scripted_cli.py")
            try:
                action(what)
            except TurnEnded:
                self._finish_step()
                raise
            self._finish_step()

    def _finish_step(self) -> None:
        self._turn["done"] += 1
        self._turn["intent"] = None
        self._turn["times"] = 0
        self._session.save()

    def _intend(self, fact: object) -> Any:
        """Record what is true before the step's effect; after an interruption, the fact of the first try."""
        if self._turn["intent"] is None:
            self._turn["intent"] = [fact]
            self._session.save()
        return self._turn["intent"][0]

    def _call_id(self) -> str:
        return f"{len(self._session.turns)}-{self._turn['done'] + 1}"

    def _happens(self, what: dict[str, Any]) -> bool:
        """Counts before the effect: a crash that were not recorded would happen for ever."""
        if self._turn["times"] >= int(what.get("times", 1)):
            return False
        self._turn["times"] += 1
        self._session.save()
        return True

    def _step_say(self, text: str) -> None:
        emit("text", text=text)

    def _step_write(self, what: dict[str, Any]) -> None:
        path = inside(what["path"])
        emit("tool", tool="write", path=what["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, what["content"])

    def _step_edit(self, what: dict[str, Any]) -> None:
        path = inside(what["path"])
        emit("tool", tool="edit", path=what["path"])
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self._intend(digest) != digest:
            return  # the interrupted try had made the edit
        if what["old"] in text:
            replace_file(path, text.replace(what["old"], what["new"], 1))
        elif what["new"] not in text:
            raise ScriptError(f"edit of {what['path']}: neither the old nor the new text is in the file")

    def _step_append(self, what: dict[str, Any]) -> None:
        path = inside(what["path"])
        emit("tool", tool="append", path=what["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        size = self._intend(path.stat().st_size if path.exists() else 0)
        with path.open("ab") as file:
            file.truncate(size)
            file.write(what["content"].encode())

    def _step_delete(self, what: dict[str, Any]) -> None:
        emit("tool", tool="delete", path=what["path"])
        inside(what["path"]).unlink(missing_ok=True)

    def _step_run(self, what: dict[str, Any]) -> None:
        call = self._call_id()
        emit("tool", tool="run", command=what["command"], tool_id=call)
        done = subprocess.run(["sh", "-c", what["command"]], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        text = (done.stdout + done.stderr).decode("utf-8", "replace")[-4000:]
        emit("tool_result", tool="run", tool_id=call, exit_code=done.returncode, text=text)
        expected = what.get("expect_exit", 0)
        if expected is not None and done.returncode != expected:
            raise ScriptError(
                f"'{what['command']}' ended with {done.returncode}, the script expects {expected}:\n{text}"
            )

    def _step_sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _step_wait_for_file(self, what: dict[str, Any]) -> None:
        seconds = float(what.get("seconds", 60))
        until = time.monotonic() + seconds
        while not Path(what["path"]).exists():
            if time.monotonic() >= until:
                raise ScriptError(f"{what['path']} did not appear within {seconds} s")
            time.sleep(0.02)

    def _step_cost(self, usd: float) -> None:
        # The total and the mark that the step is done are one save, so a cost is counted once.
        self._session.cost_usd += usd
        emit("cost", cost_usd=self._session.cost_usd)

    def _step_commit(self, what: dict[str, Any]) -> None:
        emit("tool", tool="commit", message=what["message"])
        before = self._intend(git("rev-parse", "--verify", "--quiet", "HEAD", check=False))
        if git("rev-parse", "--verify", "--quiet", "HEAD", check=False) != before:
            return
        git("add", "--all")
        if git("status", "--porcelain"):
            identity = ("-c", "user.name=Scripted Agent", "-c", "user.email=scripted-agent@fettle.invalid")
            git(*identity, "commit", "--quiet", "-m", what["message"])

    def _step_print_bytes(self, count: int) -> None:
        emit("text", text="x" * count)

    def _step_spawn_orphan(self, what: dict[str, Any]) -> None:
        keep_writing = (
            f"while :; do echo tick >> '{inside(what['path'])}'; sleep 0.02; done & " if what.get("path") else ""
        )
        orphan = subprocess.Popen(
            ["sh", "-c", f"trap '' TERM HUP; {keep_writing}sleep {float(what['seconds'])}"],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        emit("tool", tool="spawn_orphan", pid=orphan.pid)
        orphan.returncode = 0  # it is meant to outlive us: the interpreter shall not complain

    def _step_crash(self, what: dict[str, Any]) -> None:
        if self._happens(what):
            sys.stdout.flush()
            os._exit(int(what.get("exit_code", 1)))

    def _step_hang(self, what: dict[str, Any]) -> None:
        if self._happens(what):
            until = time.monotonic() + float(what.get("seconds", 3600))
            while time.monotonic() < until:
                if not what.get("busy"):
                    time.sleep(1)

    def _step_ask(self, what: dict[str, Any]) -> None:
        asked = {"id": f"ask-{self._call_id()}", "tool": what["tool"], "text": what.get("text", "")}
        if self._answer is None or self._answer["id"] != asked["id"]:
            emit_result(self._session, "needs_approval", f"may I use {what['tool']}?", question=asked)
            sys.exit(0)
        if not self._answer["allow"]:
            emit("tool_result", tool=what["tool"], denials=[what["tool"]])
        elif what.get("run"):
            self._step_run({"command": what["run"], "expect_exit": what.get("expect_exit", 0)})

    def _step_refuse(self, text: str) -> None:
        raise TurnEnded("refused", text)

    def _step_limit(self, text: str) -> None:
        raise TurnEnded("limit", text)

    def _step_api_error(self, what: dict[str, Any]) -> None:
        if self._happens(what):
            facts = {key: what[key] for key in ("reason", "retryable", "retry_after_seconds") if key in what}
            emit("error", text=what.get("message", "the model's provider failed"), **facts)
            sys.exit(1)


def emit(kind: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"scripted": True, "backend": "scripted", "type": kind, **facts}) + "\n")
    sys.stdout.flush()


def emit_result(session: Session, outcome: str, text: str, **facts: object) -> None:
    emit("result", outcome=outcome, text=text, cost_usd=session.cost_usd, session_id=session.id, **facts)


def inside(path: str) -> Path:
    """The path below the worktree; a script, like an agent, has no business elsewhere."""
    target = Path(path).resolve()
    if not target.is_relative_to(Path.cwd()):
        raise ScriptError(f"{path} is outside the worktree")
    return target


def replace_file(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    fresh = path.with_name(f".{path.name}.scripted")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(path)


def git(*args: str, check: bool = True) -> str:
    done = subprocess.run(["git", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ScriptError(f"git {' '.join(args)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> int:
    arguments = _arguments()
    if arguments.version:
        sys.stdout.write("1.0.0 (scripted)\n")
        return 0
    prompt = sys.stdin.read()
    session = Session.open(arguments.resume or arguments.session_id, resume=bool(arguments.resume))
    script = json.loads(Path(arguments.script).read_text(encoding="utf-8"))
    turn = session.turn_of(arguments.round)
    number = len(session.turns)
    session.save()
    name = script.get("name", "")
    emit("session", session_id=session.id, turn=number, resumed=bool(arguments.resume), script=name, prompt=len(prompt))
    turns = script.get("turns", [])
    if number > len(turns):
        turn.update(
            outcome="finished", text=f"the script has {len(turns)} turns, this is turn {number}: nothing changed"
        )
    if not turn["outcome"]:
        _play(session, turn, turns[number - 1], arguments.answer)
    session.save()
    emit_result(session, turn["outcome"], turn["text"])
    return 0 if turn["outcome"] in {"finished", "refused", "limit"} else 1


def _play(session: Session, turn: dict[str, Any], script: dict[str, Any], answer: dict[str, Any] | None) -> None:
    steps = script.get("steps", [])
    try:
        Player(session, turn, answer).play(steps)
        said = [step["say"] for step in steps if "say" in step]
        turn.update(outcome="finished", text=said[-1] if said else "the script's turn is finished")
    except TurnEnded as end:
        turn.update(outcome=end.outcome, text=str(end))
    except ScriptError as error:
        emit("error", reason="script", text=str(error))
        raise SystemExit(1) from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play a recorded script as a coding agent would work.")
    parser.add_argument("--script", help="the script's JSON file")
    parser.add_argument("--session-id", help="start a session with this id")
    parser.add_argument("--resume", help="continue the session with this id")
    parser.add_argument("--round", type=int, default=0, help="the caller's turn; asking again repeats nothing")
    parser.add_argument("--answer", type=json.loads, help="a person's word on the question that the session waits with")
    parser.add_argument("--version", action="store_true", help="print the version")
    arguments = parser.parse_args()
    if not arguments.version and (not arguments.script or bool(arguments.resume) == bool(arguments.session_id)):
        parser.error("--script and one of --session-id and --resume are required")
    return arguments


def _usage(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
