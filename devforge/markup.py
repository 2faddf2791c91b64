"""How a page shows what happened: coloured diffs, and the entries of a timeline in words."""

from typing import Any


def moment(stamp: str) -> str:
    """A time as the API writes it, for people: without its T and Z."""
    return stamp.replace("T", " ").removesuffix("Z")


def diff(patch: str) -> list[tuple[str, str]]:
    """Each line of a patch with its class: add, del, hunk or same."""
    classes = {"+": "add", "-": "del", "@": "hunk"}
    return [(classes.get(line[:1], "same"), line) for line in patch.split("\n")]


def describe(event: str, detail: dict[str, Any]) -> str:
    """What a timeline entry says, after the name of who did it."""
    words = {
        "labeled": "added the label {label}",
        "unlabeled": "removed the label {label}",
        "assigned": "assigned {login}",
        "unassigned": "unassigned {login}",
        "renamed": "changed the title from {from} to {to}",
        "base_changed": "changed the base from {from} to {to}",
        "head_moved": "pushed {after}",
        "merged": "merged this as {sha}",
        "reopened": "reopened this",
        "ready_for_review": "marked this as ready for review",
        "converted_to_draft": "made this a draft",
    }
    if event == "closed":
        return f"closed this as {detail['reason'].replace('_', ' ')}" if detail.get("reason") else "closed this"
    shown = {key: str(value)[:12] if key in ("after", "sha") else value for key, value in detail.items()}
    return words.get(event, event.replace("_", " ")).format(**shown)
