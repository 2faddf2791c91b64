"""Writes the generated parts of the documentation: `python docs/generate.py` (`--check` only compares).

`docs/cli.md` is made of the commands as typer knows them; the tables of `docs/configuration.md` are made of the
settings' and the policy's own models, so that neither can say something else than the program does.
"""

import argparse
import ast
import inspect
import itertools
import json
import re
import sys
import textwrap
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final

import pydantic
import typer.models
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cli import catalog  # noqa: E402 - the repository must be importable first
from domain.policy import RepositoryPolicy, RetryBudgets  # noqa: E402
from workers import settings, settings_sources  # noqa: E402

Info = typer.models.OptionInfo | typer.models.ArgumentInfo

_COMPUTED: Final = {
    "state_dir": "`~/.local/state/fettle` (`$XDG_STATE_HOME/fettle` where that is set)",
    "store_url": "`sqlite:///<state_dir>/fettle.db`",
    "artifacts_dir": "`<state_dir>/artifacts`",
    "host_state_dir": "`<state_dir>/host`",
}
"""Defaults that follow from something else."""

_CLIS: Final = ("codex", "gemini", "kimi", "opencode")
_WORDS: Final = {
    "state_dir": "Where everything of this installation lies that has no place of its own.",
    "artifacts_dir": "Transcripts, diffs and logs of the runs. Every agent host and every reader needs the same one.",
    "store_password_file": "File that holds `store_password`.",
    "approval_mode": "How much a person decides where a repository's policy is silent. It counts when the fleet "
    "workflow first starts; later `fettle mode` changes it.",
    "default_agent": "Agent of runs whose repository names none.",
    "judge": "Who advises in triage and review. `none`: rules alone.",
    "webhook_secret": "Secret that signs the forge's deliveries. Without one the web worker does not start.",
    "webhook_secret_file": "File that holds `webhook_secret`.",
    "web_host": "Address on which the web worker listens.",
    "intake_interval_seconds": "How often each repository is searched for labelled issues.",
    "log_level": "Least level that is logged.",
    **{f"{name}.program": "The CLI's program, in the PATH of the agent host or as an absolute path." for name in _CLIS},
    "codex.request_retries": "The CLI's own retries of a model request.",
    "kimi.context_tokens": "Size of the model's context, in tokens.",
    "sandbox_memory_mebibytes": "Memory of one run's confined processes, where the host has cgroups.",
    "forge.kind": "Which API the forge speaks.",
    "forge.api_url": "Base address of the forge's API.",
    "forge.token": "Token that acts for Fettle. Either this or an app.",
    "forge.token_file": "File that holds `forge.token`.",
    "forge.app_id": "Id of the GitHub App that acts for Fettle.",
    "forge.private_key": "The app's private key, PEM.",
    "forge.private_key_file": "File that holds `forge.private_key`.",
    "forge.installation_id": "Installation of the app. Required with an app.",
    "store_url": "`sqlite:////path/fettle.db` or `postgresql://user@host/database`.",
    "claude_credentials_file": "Credentials file of the Claude CLI; agents get a copy. Not set: the environment's key.",
    "policy.approval_mode": "How much a person decides. Not set: the fleet's mode.",
    "policy.verify_command": "Run with `bash -c` on a clean checkout of the commit, after its branch is pushed and "
    "before the pull request is opened. Its environment names tests to run first in `FETTLE_TESTS_FIRST`. Empty: CI "
    "alone decides.",
    "policy.base_branch": "Branch that changes are merged into. Empty: the repository's default branch.",
    "policy.agent": "Agent for this repository. Empty: the installation's default.",
    "policy.model": "Model for the agent. Empty: the agent's own default.",
    "policy.no_checks": "What becomes of a commit that no CI check has tested.",
    "policy.merge_method": "How a pull request is merged.",
    "policy.max_in_flight": "Runs of this repository that are worked on at the same time.",
    "policy.max_collision": "How likely it may be, from 0 to 1, that two runs at work at the same time change a file "
    "in common. Above it the later one waits for the end of the other. `1`: no run waits, the code graph is not asked.",
    "policy.verify_timeout_seconds": "Limit of one run of `verify_command`.",
    "policy.ci_timeout_seconds": "How long CI may take before the run ends as failed.",
    "policy.silence_seconds": "How long an agent may show no sign of life before its turn counts as stalled.",
    "policy.turn_seconds": "Limit of one agent turn.",
    "budgets.agent_error": "The agent crashed, or ended without a verdict.",
    "budgets.stall": "The agent fell silent, or used up its turn's time.",
    "budgets.verify": "The verify command failed on the commit.",
    "budgets.safety": "The safety scan refused to let the commit be pushed.",
    "budgets.review": "The review rejected the head.",
    "budgets.ci": "CI was red.",
    "budgets.conflict": "The change conflicts with the base branch.",
    "budgets.host_loss": "The agent host was lost.",
}
"""What the docstrings below the fields do not say, or say to programmers."""

_OPTIONS: Final = {
    "base_branch": "--base",
    "approval_mode": "--mode",
    "verify_command": "--verify",
    "agent": "--agent",
    "model": "--model",
    "allowed_authors": "--author",
    "max_in_flight": "--max-in-flight",
    "max_collision": "--max-collision",
    "no_checks": "--no-checks",
    "merge_method": "--merge-method",
}
"""Policy keys with an option of their own in `fettle repo add` and `fettle repo set`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not current")
    check = parser.parse_args().check
    stale = []
    for path, text in pages():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale:
        print("\n".join(f"{'not current' if check else 'written'}: {name}" for name in stale))  # noqa: T201 - a script
    if stale and check:
        print("run: python docs/generate.py")  # noqa: T201 - a script
    return 1 if stale and check else 0


def pages() -> Iterator[tuple[Path, str]]:
    """Each generated file with the text it should have."""
    yield ROOT / "docs" / "cli.md", commands_page()
    configuration = ROOT / "docs" / "configuration.md"
    tables = {"settings": settings_table(), "policy": policy_table(), "budgets": budgets_table()}
    yield configuration, filled(configuration.read_text(encoding="utf-8"), tables)


def filled(text: str, tables: dict[str, str]) -> str:
    """`text` with each table between its two markers."""
    for name, table in tables.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end of {name} -->)"
        replacement = "\\1" + table.replace("\\", r"\\") + "\n\\2"
        text, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(
                f"the markers of the table '{name}' stand {count} times in configuration.md: once is right"
            )
    return text


# --- settings and policy -------------------------------------------------------------------------------------------


_SECTIONS: Final = frozenset({"forge", "codex", "gemini", "kimi", "opencode"})
"""Settings that are a table of their own in the file."""


def settings_table() -> str:
    rows = []
    for key, field, meaning in _fields(settings.Settings):
        section = field.annotation
        if key in _SECTIONS and isinstance(section, type) and issubclass(section, pydantic.BaseModel):
            rows += [_setting(f"{key}.{inner}", inner_field, said) for inner, inner_field, said in _fields(section)]
        else:
            rows.append(_setting(key, field, meaning))
    silent = [row[0] for row in rows if not row[4]]
    assert not silent, f"settings without a meaning: {silent}: give them a docstring, or a line in _WORDS"
    return _table(("key in `fettle.toml`", "environment variable", "accepted", "default", "meaning"), rows)


def _setting(key: str, field: FieldInfo, meaning: str) -> Sequence[str]:
    variable = settings_sources.PREFIX + key.upper().replace(".", settings_sources.NESTED)
    said = _WORDS.get(key) or meaning
    return (f"`{key}`", f"`{variable}`", _accepted(field), _COMPUTED.get(key) or _default(field), said)


def policy_table() -> str:
    rows = []
    for key, field, meaning in _fields(RepositoryPolicy):
        if key not in {"budgets", "workflow"}:  # a table of its own, and what a run keeps of the repository's file
            assert meaning or f"policy.{key}" in _WORDS, f"policy key {key} has no meaning: give it a docstring"
            option = f"`{_OPTIONS[key]}`" if key in _OPTIONS else f"`--policy {key}=…`"
            rows.append((f"`{key}`", option, _accepted(field), _default(field), _WORDS.get(f"policy.{key}") or meaning))
    return _table(("key", "option", "accepted", "default", "meaning"), rows)


def budgets_table() -> str:
    rows = [
        (f"`{key}`", _accepted(field), _default(field), _WORDS.get(f"budgets.{key}") or meaning)
        for key, field, meaning in _fields(RetryBudgets)
    ]
    return _table(("class", "accepted", "retries", "what happened"), rows)


def _fields(model: type[pydantic.BaseModel]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Name, field and the docstring below it, as one line."""
    said = _docstrings(model)
    for name, field in model.model_fields.items():
        yield name, field, said.get(name, "")


def _docstrings(model: type[pydantic.BaseModel]) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    found = {}
    for first, second in itertools.pairwise(body):
        if (
            isinstance(first, ast.AnnAssign)
            and isinstance(first.target, ast.Name)
            and isinstance(second, ast.Expr)
            and isinstance(second.value, ast.Constant)
        ):
            found[first.target.id] = " ".join(str(second.value.value).split())
    return found


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return "not set"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, pydantic.BaseModel):
        value = {}
    return f"`{json.dumps(value, default=str)}`"


def _accepted(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for item in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if getattr(item, name, None) is not None:
                bounds[name] = getattr(item, name)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " ".join([_type(field.annotation), *(f"{signs[name]} {value:g}" for name, value in bounds.items())])


def _type(annotation: Any) -> str:
    arguments = [each for each in typing.get_args(annotation) if each is not NoneType]
    origin = typing.get_origin(annotation)
    if origin in {UnionType, typing.Union, typing.Annotated}:
        return _type(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in {tuple, list}:
        return f"list of {_type(arguments[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if origin is dict or (inspect.isclass(annotation) and issubclass(annotation, pydantic.BaseModel)):
        return "map"
    names = {"str": "text", "int": "integer", "float": "number", "bool": "`true`, `false`", "SecretStr": "secret"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, "path" if name == "Path" else name)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


# --- commands ------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    parts = [
        "# Commands",
        "<!-- generated by docs/generate.py: edit the commands, then run it again -->",
        "Every command has `--help`.\n"
        "`RUN` is `owner/repo#12`, or just `12` where that is unambiguous.\n"
        "With `--json` a command prints one JSON object on stdout and nothing else; progress and errors go to stderr.\n"
        "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 Temporal or forge unreachable, 130 interrupted.",
    ]
    for panel in dict.fromkeys(e.panel for e in catalog.COMMANDS if e.panel):
        parts.append(f"## {panel}")
        parts += [_command(entry) for entry in catalog.COMMANDS if entry.panel == panel]
        for group, (words, its_panel) in catalog.GROUPS.items():
            if its_panel == panel:
                parts.append(f"### fettle {group}\n\n{words}")
                parts += [_command(e, level=4) for e in catalog.COMMANDS if e.name.startswith(f"{group} ")]
    return "\n\n".join(parts) + "\n"


def _command(entry: catalog.Entry, *, level: int = 3) -> str:
    function = getattr(import_module(entry.module), entry.function)
    hints = typing.get_type_hints(function, include_extras=True)
    rows = []
    for name, parameter in inspect.signature(function).parameters.items():
        annotation, info = typing.get_args(hints[name])[:2]
        rows.append((_names(name, annotation, info), _value(annotation, info), _said(parameter.default, info)))
    assert all(row[2] for row in rows), f"{entry.name} has an argument without help"
    title = f"{'#' * level} fettle {entry.name}\n\n{entry.help}\n\nExample: `{entry.example}`"
    return f"{title}\n\n{_table(('argument', 'value', 'meaning'), rows)}" if rows else title


def _names(name: str, annotation: Any, info: Info) -> str:
    """As they are typed: the metavar of an argument, every spelling of an option."""
    if isinstance(info, typer.models.ArgumentInfo):
        return f"`{info.metavar or name.upper()}`"
    dashed = name.replace("_", "-")
    pair = [f"--{dashed}", f"--no-{dashed}"] if _is_flag(annotation) else [f"--{dashed}"]
    # Inside Annotated the first spelling stands where a default value would.
    first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
    spelled = [name for given in [*first, *(info.param_decls or ())] for name in given.split("/")]
    return ", ".join(f"`{each}`" for each in spelled or pair)


def _value(annotation: Any, info: Info) -> str:
    return "" if _is_flag(annotation) else info.metavar if info.metavar and "=" in info.metavar else _type(annotation)


def _said(default: object, info: Info) -> str:
    words = info.help or ""
    if default is inspect.Parameter.empty:
        return f"{words} Required."
    if default is None or default is False or default == "" or "Default:" in words:
        return words
    shown = "on" if default is True else f"`{getattr(default, 'value', default)}`"
    return f"{words} Default: {shown}."


def _is_flag(annotation: Any) -> bool:
    return bool in {annotation, *typing.get_args(annotation)}


if __name__ == "__main__":
    sys.exit(main())
