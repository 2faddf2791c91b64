"""The keys of the front matter, in Symphony's, Baton's and our own spelling: one table, and the walk over it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from domain.policy import ApprovalMode, MergeMethod
from domain.workflow_policy import LEVELS, Code, Finding, Workflow
from integrations.workflow_file import values
from integrations.workflow_file.document import Node, kind_of

EXTENSION: Final = "x-"
"""Keys and sections that begin so are anybody's, and never read."""


class Key(NamedTuple):
    """What becomes of a key. `into` is a path in `Workflow`; empty: it is checked and has no effect."""

    convert: values.Convert | None
    into: str = ""
    note: str = ""
    """Why it has no effect here."""


def _ignored(why: str) -> Key:
    return Key(None, note=f"has no effect: {why}")


_OURS: Final = "agent hosts keep the worktrees of their runs in their own state directory"
_SANDBOX: Final = "the sandbox is the wall here; see agent.permission_mode and agent.ask_tools"
_STARTED: Final = "the agent host starts the agent its own way"
_RETRIES: Final = "retries have budgets by class of failure; see `fettle repo show`"
_HOSTS: Final = "agent hosts are the installation's; see `fettle worker agents`"
_SCREEN: Final = "see `fettle fleet` and the Temporal Web UI"

KEYS: Final[Mapping[str, Key]] = {
    "tracker.kind": Key(values.tracker_kind),
    "tracker.labels": Key(values.texts, "tracker.labels"),
    "tracker.required_labels": Key(values.texts, "tracker.labels"),
    "tracker.exclude_labels": Key(values.texts, "tracker.exclude_labels"),
    "tracker.assignee": Key(values.text, "tracker.assignee"),
    "tracker.active_states": Key(values.names, "tracker.active_states"),
    "tracker.terminal_states": Key(values.names, "tracker.terminal_states"),
    "tracker.api_key": Key(values.secret),
    "tracker.token": Key(values.secret),
    "tracker.provider": Key(values.provider),
    "tracker.endpoint": _ignored("the installation knows the forge"),
    "tracker.project_slug": _ignored("the repository is the file's own"),
    "tracker.owner": _ignored("the repository is the file's own"),
    "tracker.repo": _ignored("the repository is the file's own"),
    "polling.interval_ms": Key(values.seconds(), "poll_seconds"),
    "workspace.root": _ignored(_OURS),
    "hooks.after_create": Key(values.script, "hooks.after_create"),
    "hooks.before_run": Key(values.script, "hooks.before_run"),
    "hooks.after_run": Key(values.script, "hooks.after_run"),
    "hooks.before_remove": Key(values.script, "hooks.before_remove"),
    "hooks.timeout_ms": Key(values.seconds(2 * 3600), "hooks.timeout_seconds"),
    "agent.backend": Key(values.choice(*values.BACKENDS, "scripted"), "agent.backend"),
    "agent.command": Key(values.backend, "agent.backend"),
    "agent.model": Key(values.text, "agent.model"),
    "agent.max_concurrent": Key(values.whole(1, 1000), "agent.max_concurrent"),
    "agent.max_concurrent_agents": Key(values.whole(1, 1000), "agent.max_concurrent"),
    "agent.max_concurrent_agents_by_state": Key(values.state_limits, "tracker.state_limits"),
    "agent.max_turns": Key(values.whole(1, 100), "agent.max_turns"),
    "agent.max_retry_backoff_ms": _ignored(_RETRIES),
    "agent.turn_timeout_ms": Key(values.seconds(), "agent.turn_seconds"),
    "agent.stall_timeout_ms": Key(values.silence, "agent.silence_seconds"),
    "agent.permission_mode": Key(values.autonomy, "agent.autonomy"),
    "agent.allowed_tools": Key(values.texts, "agent.allowed_tools"),
    "agent.ask_tools": Key(values.texts, "agent.ask_tools"),
    "agent.mcp_servers": Key(values.mcp_servers, "agent.mcp_servers"),
    **{
        f"{section}.{key}": entry
        for section in ("claude", "codex")
        for key, entry in {
            "command": Key(values.backend, "agent.backend"),
            "model": Key(values.text, "agent.model"),
            "turn_timeout_ms": Key(values.seconds(), "agent.turn_seconds"),
            "stall_timeout_ms": Key(values.silence, "agent.silence_seconds"),
            "read_timeout_ms": _ignored(_STARTED),
        }.items()
    },
    "claude.permission_mode": Key(values.autonomy, "agent.autonomy"),
    "codex.approval_policy": _ignored(_SANDBOX),
    "codex.thread_sandbox": _ignored(_SANDBOX),
    "codex.turn_sandbox_policy": _ignored(_SANDBOX),
    "codex.reasoning_effort": _ignored(_STARTED),
    "codex.service_tier": _ignored(_STARTED),
    "sandbox.level": Key(values.choice(*LEVELS[1:]), "sandbox.level"),
    "sandbox.egress": Key(values.egress, "sandbox.egress"),
    "gates.verify_command": Key(values.script, "gates.verify_command"),
    "gates.verify_timeout_ms": Key(values.seconds(2 * 3600), "gates.verify_timeout_seconds"),
    "gates.approval_mode": Key(values.choice(*ApprovalMode), "gates.approval_mode"),
    "gates.merge_method": Key(values.choice(*MergeMethod), "gates.merge_method"),
    "worker.*": _ignored(_HOSTS),
    "server.*": _ignored(_SCREEN),
    "observability.*": _ignored(_SCREEN),
}
"""Dotted names as they stand in a file. `section.*` takes every key of a section."""

SECTIONS: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in KEYS))


@dataclass
class _Reading:
    taken: dict[str, tuple[str, object]] = field(default_factory=dict)
    """By path in `Workflow`: the key that set it, and the value."""
    findings: list[Finding] = field(default_factory=list)

    def add(self, code: Code, node: Node, key: str, sentence: str) -> None:
        self.findings.append(Finding(code=code, line=node.line, column=node.column, key=key, sentence=sentence))

    def note(self, key: str, node: Node, sentence: str) -> None:
        self.add(Code.NO_EFFECT, node, key, f"{key} {sentence}")


def read(front: Mapping[str, Node]) -> tuple[Workflow, list[Finding]]:
    """The settings of a file, and everything there is to say about its keys. What has a mistake is left out."""
    reading = _Reading()
    for section, node in front.items():
        if section.startswith(EXTENSION):
            continue
        if section not in SECTIONS:
            close = _close(section, [*SECTIONS, *(name.partition(".")[2] for name in KEYS)])
            advice = close or f"the sections are {', '.join(SECTIONS)}"
            reading.add(Code.UNKNOWN_KEY, node, section, f"'{section}' is no section of the file: {advice}")
        elif isinstance(node.data, Mapping):
            for name, member in node.data.items():
                _take(reading, section, name, member)
        elif node.data is not None:
            sentence = f"the section '{section}' is {kind_of(node)}, expected a map of keys"
            reading.add(Code.WRONG_VALUE, node, section, sentence)
    made: dict[str, Any] = {}
    for path, (_, value) in reading.taken.items():
        *parents, leaf = path.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return Workflow.model_validate(made), reading.findings


def _take(reading: _Reading, section: str, name: str, node: Node) -> None:
    path = f"{section}.{name}"
    if name.startswith(EXTENSION) or node.data is None:
        if path not in KEYS and not name.startswith(EXTENSION) and f"{section}.*" not in KEYS:
            _unknown(reading, section, name, node)
        return
    key = KEYS.get(path) or KEYS.get(f"{section}.*")
    if key is None:
        _unknown(reading, section, name, node)
        return
    if key.convert is None:
        reading.note(path, node, key.note)
        return
    try:
        value = key.convert(node, partial(reading.note, path))
    except values.Wrong as wrong:
        reading.add(wrong.code, wrong.node, path, f"{path} {wrong}")
        return
    if not key.into:
        return
    if key.into in reading.taken:
        other, _ = reading.taken[key.into]
        reading.add(Code.WRONG_VALUE, node, path, f"{path} and {other} mean the same: keep one of the two")
        return
    reading.taken[key.into] = (path, value)


def _unknown(reading: _Reading, section: str, name: str, node: Node) -> None:
    known = sorted(key.partition(".")[2] for key in KEYS if key.startswith(f"{section}."))
    advice = _close(name, known) or f"the keys of {section} are {', '.join(known)}"
    reading.add(Code.UNKNOWN_KEY, node, f"{section}.{name}", f"'{name}' is no key of {section}: {advice}")


def _close(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{found[0]}'?" if found else ""
