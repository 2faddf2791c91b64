"""How `fettle demo` and `fettle run` tell a run while it happens: a live view on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from rich import console, live, spinner, style, table, text

from cli import render
from domain.review import Verdict
from domain.run import Phase, State

_SHOWN_MILESTONES: Final = 4
_REFRESH_PER_SECOND: Final = 8


class Span(NamedTuple):
    """One stay in a phase. `seconds` runs on while the phase is the present one."""

    name: str
    seconds: float
    present: bool


def spans(state: State, now: datetime) -> list[Span]:
    """The phases a run went through, in order; a final phase is an end and not a stay."""
    ends = [*(mark.at for mark in state.marks[1:]), now]
    return [
        Span(mark.phase.value, round(max(0.0, (end - mark.at).total_seconds()), 1), index == len(state.marks) - 1)
        for index, (mark, end) in enumerate(zip(state.marks, ends, strict=False))
        if not mark.phase.terminal
    ]


def outcome(state: State) -> str:
    """`merged`, or the phase in which the run ended without a merge."""
    if state.phase is Phase.DONE and state.merge.merged_sha:
        return "merged"
    stays = [mark.phase.value for mark in state.marks if not mark.phase.terminal]
    return stays[-1] if stays else state.phase.value


def detail(state: State, phase: str) -> str:
    """What is known about a phase, in a few words."""
    change, pull = state.change, state.pull
    if state.hold is not None and phase == state.phase:
        return f"held by {state.hold.by} ({state.hold.kind}) {state.hold.note}".strip()
    match phase:
        case Phase.IMPLEMENTING if state.order is not None and state.order.reason != "initial":
            return f"repair after {state.order.reason}"
        case Phase.PUBLISHING if pull is not None and change is not None:
            return f"pull request #{pull.number}, head {change.head_sha[:9]}"
        case Phase.REVIEWING if change is not None and change.review is not None:
            return "changes asked for" if change.review.verdict is Verdict.REJECT else "approved"
        case Phase.AWAITING_CI if change is not None and change.ci is not None:
            return change.ci.sentence()
        case Phase.MERGING if state.merge.merged_sha:
            return f"merged as {state.merge.merged_sha[:9]}"
        case _:
            return ""


@dataclass
class Story:
    """What is told: facts that the command sets, and the newest state of the run."""

    heading: str
    agent: str
    around: str = ""
    """What confines the agent."""
    links: dict[str, str] = field(default_factory=dict)
    processes: dict[str, str] = field(default_factory=dict)
    state: State | None = None
    milestones: list[str] = field(default_factory=list)
    doing: str = ""
    """What goes on this moment."""
    asked: str = ""
    """What a person has to do, when the run waits for one."""


class Teller(AbstractContextManager["Teller"]):
    """Shows a story on stderr. `update` may be called as often as one likes: lines are printed once, when new."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._console = console.Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
        self._began = time.monotonic()
        self._told: set[str] = set()
        self._spinner = spinner.Spinner("dots", style="cyan")
        self._live: live.Live | None = None
        if self._console.is_terminal:
            self._live = live.Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=_REFRESH_PER_SECOND,
                vertical_overflow="visible",
            )

    def __enter__(self) -> "Teller":
        (self._live or nullcontext()).__enter__()
        if self._live is None:
            self._line(f"{self.story.heading}; agent: {self.story.agent}")
            if self.story.around:
                self._line(self.story.around)
        return self

    def __exit__(self, *failure: Any) -> None:
        if self._live is not None:
            self._live.refresh()
            self._live.__exit__(*failure)

    def update(self) -> None:
        """Show what is new in the story."""
        if self._live is not None:
            return  # it draws itself
        for line in self._lines():
            if line not in self._told:
                self._told.add(line)
                self._line(line)

    def _line(self, line: str) -> None:
        self._console.print(
            f"[{time.monotonic() - self._began:6.1f} s] {render.clean(line)}", soft_wrap=True, highlight=False
        )

    def _lines(self) -> list[str]:
        story = self.story
        lines = [f"{name} is {state}" for name, state in story.processes.items()]
        lines += [f"{name}: {url}" for name, url in story.links.items()]
        if story.state is None:
            return [*lines, story.doing] if story.doing else lines
        for index, mark in enumerate(story.state.marks):
            word = "ended: " if mark.phase.terminal else ""
            before = sum(earlier.phase is mark.phase for earlier in story.state.marks[:index])
            # What is known is about the last stay; an earlier one was told while it lasted.
            last = all(later.phase is not mark.phase for later in story.state.marks[index + 1 :])
            facts = detail(story.state, mark.phase) if last and not mark.phase.terminal else ""
            lines.append(
                f"{word}{mark.phase}" + (f" ({before + 1})" if before else "") + (f": {facts}" if facts else "")
            )
        if story.asked:
            lines.append(story.asked)
        return lines + [f"agent: {milestone}" for milestone in story.milestones]

    def _picture(self) -> table.Table:
        story = self.story
        whole = table.Table.grid(padding=(0, 0))
        heading = text.Text(render.clean(story.heading), style="bold")
        whole.add_row(heading.append(f"   {time.monotonic() - self._began:.0f} s", style="dim"))
        whole.add_row(text.Text(f"agent: {render.clean(story.agent)}", style="yellow"))
        if story.around:
            whole.add_row(text.Text(render.clean(story.around), style="yellow"))
        if story.state is None:
            whole.add_row(self._starting())
        else:
            whole.add_row(text.Text())
            whole.add_row(self._phases(story.state))
        if story.asked:
            whole.add_row(text.Text(render.clean(story.asked), style="bold yellow"))
        elif story.doing:
            whole.add_row(text.Text(f"  {render.clean(story.doing)}", style="dim"))
        if story.links:
            whole.add_row(text.Text())
            links = table.Table.grid(padding=(0, 2))
            links.add_column()
            links.add_column(overflow="fold")  # a shortened address cannot be opened
            for name, url in story.links.items():
                links.add_row(text.Text(render.clean(name), style="dim"), text.Text(render.clean(url), _link(url)))
            whole.add_row(links)
        return whole

    def _starting(self) -> table.Table:
        rows = table.Table.grid(padding=(0, 2))
        for name, state in self.story.processes.items():
            done = state == "ready"
            rows.add_row(text.Text("✓", style="green") if done else self._spinner, name, text.Text(state, style="dim"))
        return rows

    def _phases(self, state: State) -> table.Table:
        rows = table.Table.grid(padding=(0, 2))
        for span in spans(state, datetime.now(tz=state.marks[0].at.tzinfo) if state.marks else datetime.now()):
            sign = self._spinner if span.present else text.Text("✓", style="green")
            seconds = text.Text(f"{span.seconds:6.1f} s", style="dim")
            rows.add_row(sign, span.name, seconds, text.Text(render.clean(detail(state, span.name))))
            if span.name == Phase.IMPLEMENTING:
                for milestone in self.story.milestones[-_SHOWN_MILESTONES:]:
                    rows.add_row("", "", "", text.Text(render.clean(milestone), style="dim"))
        if state.phase.terminal:
            good = state.phase is Phase.DONE
            reason = state.ending.reason if state.ending else ""
            if reason in {detail(state, mark.phase) for mark in state.marks}:
                reason = ""
            rows.add_row(
                text.Text("✓" if good else "✗", style="green" if good else "red"),
                text.Text(state.phase.value, style="bold green" if good else "bold red"),
                "",
                text.Text(render.clean(reason)),
            )
        return rows


def _link(url: str) -> style.Style:
    """A terminal opens the whole address, also where the window is too narrow to show it in one line."""
    return style.Style(color="cyan", link=render.clean(url))


def summary(lines: Sequence[tuple[str, str]]) -> None:
    """The last word to a person, on stderr: stdout is for `--json`."""
    console.Console(file=sys.stderr, markup=False, emoji=False, highlight=False, soft_wrap=True).print(
        render.facts(lines)
    )
