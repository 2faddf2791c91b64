"""Whether a command line would be accepted, found out without carrying it out."""

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import catalog, main

WIDE = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
_COLOURED = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables by which a CI service or a user has output coloured, or as wide as they like."""


def entry_of(words: Sequence[str]) -> tuple[catalog.Entry, list[str]]:
    """The command that these words name, and the words that are left for it."""
    names = {entry.name: entry for entry in catalog.COMMANDS}
    for length in (2, 1):
        if found := names.get(" ".join(words[:length])):
            return found, list(words[length:])
    raise AssertionError(f"fettle has no command '{' '.join(words[:2])}'")


def parse_fettle(words: Sequence[str]) -> None:
    """Let typer read the words as the command's own function would have them; the function is not called."""
    entry, rest = entry_of(words)
    function = getattr(import_module(entry.module), entry.function)

    @functools.wraps(function)
    def instead(**_: Any) -> None:
        return None

    app = typer.Typer(add_completion=False)
    app.command()(instead)
    typer.main.get_command(app).main(list(rest), prog_name=entry.name, standalone_mode=False)


@functools.cache
def help_of(*words: str) -> str:
    """What a program prints as its help; ours is asked in this process, which saves half a second each time."""
    if words[0] == "fettle":
        with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.MonkeyPatch.context() as patched:
            for name, value in WIDE.items():
                patched.setenv(name, value)
            for name in _COLOURED:
                patched.delenv(name, raising=False)
            patched.setattr("typer.rich_utils.FORCE_TERMINAL", None)  # read from there when it was imported
            patched.setattr("typer.rich_utils.MAX_WIDTH", None)
            assert main.run([*words[1:], "--help"]) == 0
        return printed.getvalue()
    program = shutil.which(words[0], path=path())
    assert program, f"{words[0]} is not installed"
    done = subprocess.run(
        [program, *words[1:], "--help"], capture_output=True, text=True, timeout=30, env={**os.environ, **WIDE}
    )
    assert done.returncode == 0, f"{' '.join(words)} --help: {done.stderr}"
    return done.stdout


def path() -> str:
    """Programs of this environment go first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def check_options(program: str, words: Sequence[str]) -> None:
    """Every option that is named exists; arguments may be missing."""
    verb: list[str] = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z-]*", word) or (program == "fettle" and " ".join([*verb, word]) not in _names()):
            break
        verb.append(word)
    assert verb or words[0].startswith("-"), f"'{program} {' '.join(words)}' names no command"
    text = help_of(program, *verb)
    if program == "temporal":
        assert f"temporal {' '.join(verb)}" in text, f"temporal has no command '{' '.join(verb)}'"
        text += help_of("temporal", "options")
    for word in words[len(verb) :]:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{program} {' '.join(verb)} has no {option}"


@functools.cache
def _names() -> frozenset[str]:
    return frozenset({entry.name for entry in catalog.COMMANDS} | set(catalog.GROUPS))
