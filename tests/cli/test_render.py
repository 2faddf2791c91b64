"""A name, an address or a command that is broken into two lines can be neither searched, opened nor pasted."""

import io
import sys

import pytest
from rich import console

from cli import checkup, render

ADDRESS = "http://127.0.0.1:1/" + "x" * 150


def printed(made: console.RenderableType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "40")
    render.printer().print(made)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_table_without_a_terminal_has_one_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    made = render.grid(("run", "title"), [("acme/api#1", f"see {ADDRESS} " + "word " * 40)])
    lines = printed(made, monkeypatch)
    assert len(lines) == 3
    assert lines[2].startswith("acme/api#1  ")
    assert ADDRESS in lines[2]


def test_facts_keep_their_own_line_breaks_and_get_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(render.facts([("run", "acme/api#1"), ("none", ""), ("next", f"one\n{ADDRESS}")]), monkeypatch)
    assert lines == ["run   acme/api#1", "next  one", f"      {ADDRESS}"]


def test_the_doctors_commands_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(checkup.table([checkup.warn("store", "it is old " * 20, f"fettle open {ADDRESS}")]), monkeypatch)
    assert lines[1].strip() == f"→ fettle open {ADDRESS}"


def test_the_name_of_a_run_is_whole_on_a_narrow_terminal() -> None:
    screen = console.Console(file=io.StringIO(), width=50, force_terminal=True, color_system=None)
    screen.print(render.grid(("run", "phase", "title"), [("acme/some-service#1234", "implementing", "word " * 12)]))
    assert "acme/some-service#1234" in screen.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above


def test_control_characters_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(render.facts([("title", "a\x1b[2Jb")]), monkeypatch) == ["title  a [2Jb"]
