"""What Fettle writes for people: the status comment, the pull request, the card in the Temporal Web UI."""

from typing import Final

from domain import path_leases
from domain.numerals import counted
from domain.run import Ending, Phase, State

_WARNINGS_LISTED: Final = 20
SIGNATURE = "\n\n---\n_Written by Fettle: deterministic code decides, models advise._"


def pull_title(state: State) -> str:
    return f"{state.title or state.issue}"[:240]


def pull_body(state: State, summary: str) -> str:
    """`summary` is the agent's own account: quoted as such."""
    change = state.change
    parts = [f"Closes #{state.issue.number}."]
    if change:
        parts.append(
            f"{counted(change.size, 'file')}, +{change.added_lines} −{change.removed_lines} lines, "  # noqa: RUF001 - a real minus sign, shown to people
            f"work of agent `{state.backend or 'unknown'}`."
        )
    if summary.strip():
        quoted = "\n".join(f"> {line}" for line in summary.strip()[:3000].splitlines())
        parts.append(f"The agent's own summary:\n\n{quoted}")
    if state.accepted:
        parts.append("By hand:\n\n" + "\n".join(f"- {each.sentence()}" for each in state.accepted[-20:]))
    if change and change.warnings:
        listed = "\n".join(f"- `{w.path}:{w.line}` {w.rule}" for w in change.warnings[:_WARNINGS_LISTED])
        if len(change.warnings) > _WARNINGS_LISTED:
            listed += f"\n- and more than these {_WARNINGS_LISTED}"
        parts.append(f"Patterns worth a look:\n\n{listed}")
    return "\n\n".join(parts) + SIGNATURE


def claimed(state: State) -> str:
    why = f" because {state.asked_by} asked" if state.asked_by and state.asked_by != "intake" else ""
    return (
        f"Fettle took this issue{why}. Mode: `{state.mode}`; agent: `{state.backend}`.\n\n"
        f"Watch: `fettle status {state.issue}` · stop: `fettle cancel {state.issue}`" + SIGNATURE
    )


def published(state: State) -> str:
    """`{pull}` stands for the pull request's number, which is not known yet."""
    return f"The change is in {{pull}}: it is being reviewed and tested.{SIGNATURE}"


def ended(state: State, ending: Ending) -> str:
    """The last word, with the next command for everything that did not merge."""
    pull = f" (#{state.pull.number})" if state.pull else ""
    again = f"Set the label `fettle` again, or run `fettle retry {state.issue}`, to try once more."
    match ending.phase:
        case Phase.DONE:
            text = f"Done{pull}: {ending.reason}."
        case Phase.FAILED:
            kind = f" [{ending.failure_class}]" if ending.failure_class else ""
            text = f"Fettle gave up{kind}{pull}: {ending.reason}\n\n{again}"
        case Phase.CANCELLED:
            text = f"Cancelled{pull}: {ending.reason}. The branch is kept.\n\n{again}"
        case _:
            text = f"Not done{pull}: {ending.reason}\n\n{again}"
    return text + SIGNATURE


def learning(state: State, ending: Ending) -> tuple[str, str] | None:
    """What the next run in this repository should know: a kind of `store.learnings` and one line."""
    kinds = {
        "verify": "verify_failure",
        "ci": "ci_failure",
        "review": "review_rejection",
        "safety": "safety_blocked",
    }
    if ending.phase is Phase.DONE and state.change:
        files = ", ".join(state.change.paths[:5])
        return "success", f"'{state.title}' was solved in {files}"
    if ending.phase is Phase.FAILED:
        return kinds.get(ending.failure_class, "agent_failure"), f"'{state.title}': {ending.reason}"
    return None


def card(state: State, doing: str) -> str:
    """Markdown for the details panel of the Web UI; it costs no event."""
    # Markdown takes lines right below a paragraph for more of the paragraph, so the list begins after an empty one.
    rows = [f"**{state.issue}** {state.title}", "", f"- phase: `{state.phase}` ({doing})"]
    if state.hold:
        note = f" · {state.hold.note}" if state.hold.note else ""
        rows.append(f"- held: `{state.hold.kind}` by {state.hold.by}{note}")
    if state.waits_for_files:
        rows.append(f"- {path_leases.card(state.behind, str(state.issue))}")
    if state.pull:
        rows.append(f"- pull request: [#{state.pull.number}]({state.pull.url})")
    if state.change:
        rows.append(f"- head: `{state.change.head_sha}`")
        if state.change.review:
            rows.append(f"- review: {state.change.review.verdict} by {state.change.review.by}")
        if state.change.ci:
            rows.append(f"- CI: {state.change.ci.sentence()}")
        if state.change.approval:
            rows.append(f"- approved by {state.change.approval.by}")
    if state.refused:
        rows.append(f"- last refused signal: {state.refused}")
    if state.ending:
        rows.append(f"- end: {state.ending.phase}: {state.ending.reason}")
    rows.append(f"- agent: `{state.backend or 'not chosen'}` · turns: {state.rounds} · mode: `{state.mode}`")
    return "\n".join(rows)
