"""The hook that holds back what a person decides: Claude Code runs it before each tool call, and obeys.

Run as `python -I -S claude_hook.py CONFIG`, standard library only, the call as JSON on stdin. CONFIG is JSON: `ask`, a
list of tool patterns; `answer`, null or `{"id", "allow", "by", "note", "unsure"}`, the last one true where the call may
have been made on a host that is lost; `begun`, the file that is made when an answered call is let through.

A call that matches is deferred, which ends the process cleanly; resumed with an answer, exactly that call is let
through or refused. A pattern is advice to a well-meaning agent: a shell has more spellings than any pattern, and the
wall is the sandbox. So it asks rather once too often. Any failure here refuses the call (exit code 2).
"""

import fnmatch
import json
import os
import re
import sys
from typing import Any

_PATTERN = re.compile(r"^([^()]+?)(?:\((.*)\))?$", re.DOTALL)
_JOINTS = re.compile(r"""[;&|\n(){}`'"]|\$\(""")
_BEFORE_A_COMMAND = re.compile(r"^(?:\w+=\S*\s+|(?:sudo|env|command|exec|time|nohup|xargs|builtin)\s+)*")


def decide(call: dict[str, Any], config: dict[str, Any]) -> tuple[str, str] | None:
    """The decision and its reason; None leaves the call to the permission mode."""
    answer = config.get("answer")
    if answer and answer["id"] == call.get("tool_use_id"):
        return _answered(answer, str(config["begun"]))
    if not any(matches(pattern, call) for pattern in config["ask"]):
        return None
    if call.get("agent_id"):
        return "deny", "a person decides about this call: ask for it from the main conversation, not from a subagent"
    return "defer", "a person decides about this call"


def _answered(answer: dict[str, Any], begun: str) -> tuple[str, str]:
    by, note = answer.get("by") or "a person", answer.get("note") or ""
    if not answer["allow"]:
        return "deny", f"{by} decided against this call{f': {note}' if note else ''}"
    if answer.get("unsure") or not _begins(begun):
        return "deny", (
            "this call was approved and begun before an interruption, its outcome is unknown: look whether it took "
            "effect; make it again only if it did not"
        )
    return "allow", f"{by} approved this call"


def _begins(begun: str) -> bool:
    """Whether this is the first time that the call is let through on this host."""
    os.makedirs(os.path.dirname(begun), exist_ok=True)
    try:
        os.close(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        return False
    return True


def matches(pattern: str, call: dict[str, Any]) -> bool:
    """Whether a pattern such as `Bash(git push*)`, `Write(/etc/*)` or `mcp__deploy__*` is about this call."""
    parts = _PATTERN.match(pattern.strip())
    if parts is None or not fnmatch.fnmatchcase(str(call.get("tool_name", "")), parts[1].strip()):
        return False
    wanted = parts[2]
    if not wanted:
        return True
    wanted = f"{wanted[:-2]}*" if wanted.endswith(":*") else wanted
    also = wanted[:-2] if wanted.endswith(" *") else wanted
    return any(fnmatch.fnmatchcase(text, each) for text in _subjects(call) for each in (wanted, also))


def _subjects(call: dict[str, Any]) -> list[str]:
    given = call.get("tool_input")
    given = given if isinstance(given, dict) else {}
    command = given.get("command")
    if isinstance(command, str):
        pieces = (_BEFORE_A_COMMAND.sub("", piece.strip()) for piece in _JOINTS.split(command))
        return [command, *(piece for piece in pieces if piece)]
    found = [value for value in given.values() if isinstance(value, str)]
    base = str(call.get("cwd") or ".")
    paths = [given[key] for key in ("file_path", "notebook_path", "path") if isinstance(given.get(key), str)]
    found += [os.path.normpath(os.path.join(base, path)) for path in paths]
    found += [os.path.relpath(os.path.join(base, path), base) for path in paths]
    return [*found, json.dumps(given)]


def main() -> int:
    try:
        decision = decide(json.load(sys.stdin), json.loads(sys.argv[1]))
    except Exception as error:
        sys.stderr.write(f"the rule about this call cannot be applied, so it is refused: {error!r}\n")
        return 2
    if decision is not None:
        word, reason = decision
        said = {"hookEventName": "PreToolUse", "permissionDecision": word, "permissionDecisionReason": reason}
        sys.stdout.write(json.dumps({"hookSpecificOutput": said}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
