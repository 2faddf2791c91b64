"""A draft held against the repository as it is: what exists is linked, what is new is ordered, labelled, capped. Pure.

Nothing that a model wrote decides here: labels are the repository's own and none of them steers a run, dependencies
point at issues of the same breakdown or at issues that exist.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from domain import breakdown, refs, triage
from domain.breakdown import Draft, Item, Known, Plan, Planned, Standing, listed, normal
from domain.numerals import counted

_SECURITY: Final = re.compile(
    r"\b(?:auth\w*|oauth\w*|login|logins|passw\w*|secrets?|credentials?|tokens?|api[ -]?keys?|encrypt\w*|decrypt\w*"
    r"|crypto\w*|certificates?|tls|permissions?|privileges?|csrf|xss|ssrf|injections?|vulnerab\w*|cve|saniti[sz]\w*"
    r"|sandbox\w*|personal data|pii|gdpr)\b",
    re.I,
)
"""Too many rather than too few: a security label brings a reviewer, its absence brings none."""


def settle(
    draft: Draft,
    existing: Iterable[Known],
    labels: Iterable[str],
    *,
    spec: str,
    most: int = breakdown.MOST_ISSUES,
    always: Sequence[str] = (),
) -> Plan:
    """Hold a draft against the repository: what exists is linked, what is new is labelled and capped."""
    known = list(existing)
    warnings = list(draft.warnings)
    found = _matches(draft, known, spec)
    numbers = {issue.number for issue in known}
    spelled = {name.casefold(): name for name in labels}
    planned: list[Planned] = []
    left = most
    for item in _in_order(draft.items):
        there = found.get(item.key)
        standing = Standing.EXISTS if there else Standing.NEW if left else Standing.LATER
        left -= standing is Standing.NEW
        if missing := [number for number in item.issues if number not in numbers]:
            warnings.append(f"'{item.title}' depends on {listed(missing, '#')}, which does not exist: left out")
        chosen, refused = _labels(item, spelled, always)
        warnings += [] if there else refused
        planned.append(
            Planned(
                **item.model_dump(exclude={"labels", "issues"}),
                labels=chosen,
                issues=tuple(number for number in item.issues if number in numbers),
                standing=standing,
                number=there.number if there else 0,
                url=there.url if there else "",
                open=there.open if there else True,
            )
        )
    if later := sum(item.standing is Standing.LATER for item in planned):
        warnings.append(
            f"{counted(later, 'issue')} beyond the limit of {most}: repeat the breakdown to go on with them"
        )
    return Plan(items=tuple(planned), warnings=tuple(warnings), left_over=_left_over(draft, known, found, spec))


def _matches(draft: Draft, known: Sequence[Known], spec: str) -> dict[str, Known]:
    """The issue that each item is already: by our key, else by its title; open ones before closed, old before new."""
    by_key: dict[str, Known] = {}
    by_title: dict[str, Known] = {}
    for issue in sorted(known, key=lambda issue: (not issue.open, issue.number)):
        by_title.setdefault(normal(issue.title), issue)
        if issue.key:
            by_key.setdefault(issue.key, issue)
    found = {
        item.key: by_key.get(breakdown.issue_key(spec, item.key)) or by_title.get(normal(item.title))
        for item in draft.items
    }
    return {key: issue for key, issue in found.items() if issue is not None}


def _left_over(draft: Draft, known: Sequence[Known], found: Mapping[str, Known], spec: str) -> tuple[int, ...]:
    wanted = {breakdown.issue_key(spec, item.key) for item in draft.items}
    linked = {issue.number for issue in found.values()}
    ours = [issue for issue in known if issue.key.startswith(f"{breakdown.checklist_key(spec)}/") and issue.open]
    return tuple(sorted(i.number for i in ours if i.key not in wanted and i.number not in linked))


def _in_order(items: Sequence[Item]) -> list[Item]:
    """Dependencies first, otherwise as in the spec. A circle, which no drafter lets pass, is cut where it closes."""
    by_key = {item.key: item for item in items}
    placed: dict[str, Item] = {}
    begun: set[str] = set()
    for first in items:
        stack = [first]
        while stack:
            item = stack[-1]
            begun.add(item.key)
            waiting = [by_key[key] for key in item.depends_on if key in by_key and key not in begun]
            if waiting:
                stack.append(waiting[0])
            else:
                placed.setdefault(item.key, stack.pop())
    return list(placed.values())


def _labels(item: Item, spelled: Mapping[str, str], always: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The labels of a new issue, as the repository spells them, and what was refused of those it was to have."""
    chosen = [spelled[name.casefold()] for name in always if name.casefold() in spelled]
    refused = []
    for name in item.labels:
        known = spelled.get(name.casefold())
        if known is None:
            refused.append(f"label '{name}' of '{item.title}' is not one of the repository's: left out")
        elif _steers(known) and known not in chosen:
            refused.append(f"label '{known}' of '{item.title}' steers runs: left out, give it with --label to mean it")
        else:
            chosen.append(known)
    chosen += [name for name in spelled.values() if _belongs(name, item) and not _steers(name)]
    return tuple(dict.fromkeys(chosen)), refused


def _steers(label: str) -> bool:
    """Whether a label starts a run, or chooses its agent, model or priority: that is for people to set."""
    return label.casefold().startswith("fettle") or triage.by_rules(_ANYWHERE.issue(0), "", (label,)) != _PLAIN


def _belongs(label: str, item: Item) -> bool:
    """Routing by rule: a security label by keyword, an area's label where the text names the area."""
    kind, _, value = label.casefold().rpartition(":") if ":" in label else label.casefold().rpartition("/")
    text = f"{item.title}\n{item.body}"
    if value.strip() == "security":
        return _SECURITY.search(text) is not None
    named = re.compile(rf"(?<![\w-]){re.escape(value.strip())}(?![\w-])", re.I)
    return kind.strip() == "area" and bool(value.strip()) and named.search(text) is not None


_ANYWHERE: Final = refs.Repository(owner="any", name="any")
_PLAIN: Final = triage.by_rules(_ANYWHERE.issue(0), "", ())
