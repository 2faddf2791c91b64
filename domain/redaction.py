"""Find and mask secrets in text: by the shape of known tokens, and by the exact values this process holds.

Pure. The shapes are prefixes that vendors publish for their scanners' sake; a shape needs its prefix *and* enough of a
body, so that prose about `ghp_` tokens is not a finding. Exact values are found as they are, in base64, in hex, as URLs
and JSON write them, and in all of these broken into lines, as `base64` itself prints them.
"""

import base64
import bisect
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

SHORTEST_VALUE: Final = 6
"""Exact values below this length are not masked: they would blacken ordinary words and shas."""


class Finding(NamedTuple):
    """One secret in a text: the rule that saw it, and where it is (`text[start:end]`)."""

    rule: str
    start: int
    end: int


_BODY = r"(?<![A-Za-z0-9_-])"
"""A token starts where a word does: `task-…` holds no `sk-…`."""

SHAPES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (rule, re.compile(pattern))
    for rule, pattern in (
        ("github-token", _BODY + r"gh[oprsu]_[A-Za-z0-9]{20,255}"),
        ("github-fine-grained-token", _BODY + r"github_pat_[A-Za-z0-9_]{22,255}"),
        ("gitlab-token", _BODY + r"gl(?:pat|dt|rt|ptt|ft|oas)-[A-Za-z0-9_-]{20,}"),
        ("anthropic-key", _BODY + r"sk-ant-[A-Za-z0-9_-]{16,}"),
        ("openai-project-key", _BODY + r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}"),
        ("openai-key", _BODY + r"sk-[A-Za-z0-9]{32,}"),
        ("openrouter-key", _BODY + r"sk-or-v1-[A-Fa-f0-9]{32,}"),
        ("google-api-key", _BODY + r"AIza[A-Za-z0-9_-]{30,}"),
        ("google-oauth-token", _BODY + r"ya29\.[A-Za-z0-9_-]{20,}"),
        ("aws-access-key-id", _BODY + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
        (
            "aws-secret-key",
            r"(?i)(?<=secret_access_key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
        ),
        ("slack-token", _BODY + r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("slack-app-token", _BODY + r"xapp-[0-9]-[A-Za-z0-9-]{10,}"),
        ("slack-webhook", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}"),
        ("discord-webhook", r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]{20,}"),
        ("stripe-key", _BODY + r"[rsw](?:k_live|k_test|hsec)_[A-Za-z0-9]{16,}"),
        ("sentry-token", _BODY + r"sntry[su]_[A-Za-z0-9+/=_-]{20,}"),
        ("posthog-key", _BODY + r"ph[cx]_[A-Za-z0-9]{20,}"),
        ("npm-token", _BODY + r"npm_[A-Za-z0-9]{30,}"),
        ("pypi-token", _BODY + r"pypi-[A-Za-z0-9_-]{30,}"),
        ("huggingface-token", _BODY + r"hf_[A-Za-z0-9]{30,}"),
        ("digitalocean-token", _BODY + r"do[opr]_v1_[a-f0-9]{40,}"),
        ("sendgrid-key", _BODY + r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
        ("linear-key", _BODY + r"lin_(?:api|oauth)_[A-Za-z0-9]{30,}"),
        ("vault-token", _BODY + r"hv[bs]\.[A-Za-z0-9_-]{24,}"),
        ("json-web-token", _BODY + r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        ("age-secret-key", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
        (
            "private-key",
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[\s\S]{0,20000}?-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
        ),
        ("url-password", r"(?<=://)[^\s/:@\"'<>]{1,100}:[^\s/:@\"'<>{}$]{3,200}(?=@[A-Za-z0-9\[])"),
    )
)
"""Rule name and shape. Append only: rule names stand in findings that people have seen."""

_EXACT: Final = "known-secret"
_LONGEST_IN_PATTERN: Final = 200
"""Longer values are searched one by one: an alternation of long texts takes long to compile, and gains nothing."""
_SHORTEST_BROKEN: Final = 20
"""Tools break lines of 60 characters and more; what is shorter and runs over a line end is two words."""
_LINE_END: Final = re.compile(r"[ \t]*\r?\n[ \t]*")
_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSW(?:OR)?D|PASSPHRASE|KEY|CREDENTIALS?|PAT|DSN)(?:_|$)", re.I
)
_NO_SECRET: Final = re.compile(r"^(?:/|~|\./|file:)|^\d+$|^(?:true|false|none|null)$", re.I)
"""What stands in such a variable without being one: the path of a file, a number, a switch."""


def held_in(environment: Mapping[str, str]) -> frozenset[str]:
    """The secrets among a process's environment variables, told by their names: agents are given some of them."""
    return frozenset(
        value.strip()
        for name, value in environment.items()
        if _SECRET_NAME.search(name)
        and len(value.strip()) >= 2 * SHORTEST_VALUE
        and not _NO_SECRET.match(value.strip())
    )


def find_token_shapes(line: str) -> list[str]:
    """The names of the rules whose shape occurs in `line`, in the order of the table, each once."""
    return [rule for rule, shape in SHAPES if shape.search(line)]


def find_secrets(text: str) -> list[Finding]:
    """Every token shape in `text`, in order of place; of overlapping findings the earlier, then the longer, stays."""
    return _without_overlap(_shape_findings(text))


class Redactor:
    """Masks token shapes and a fixed set of exact values, in every form in which they are found.

    Args:
        secrets: Values this process holds. Those shorter than `SHORTEST_VALUE` are ignored.
    """

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST_VALUE}
        # Longest first: an alternation takes its first match, and a value may be the beginning of another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._long = [form for form in ordered if len(form) > _LONGEST_IN_PATTERN]
        short = [re.escape(form) for form in ordered if len(form) <= _LONGEST_IN_PATTERN]
        self._exact = re.compile("|".join(short)) if short else None
        self._broken = [form for form in ordered if len(form) >= _SHORTEST_BROKEN and "\n" not in form]

    def __repr__(self) -> str:
        return "Redactor(…)"  # the values must not reach a log by way of a repr

    def redact(self, text: str) -> str:
        """`text` with every secret replaced by `[redacted:<rule>]`."""
        found = _without_overlap([*self.find_known(text), *_shape_findings(text)])
        parts, at = [], 0
        for finding in found:
            parts += [text[at : finding.start], f"[redacted:{finding.rule}]"]
            at = finding.end
        return "".join([*parts, text[at:]])

    def find_known(self, text: str) -> list[Finding]:
        """Where the exact values are, in no order; token shapes are not looked for."""
        found = [Finding(_EXACT, *match.span()) for match in self._exact.finditer(text)] if self._exact else []
        found += [Finding(_EXACT, *span) for form in self._long for span in _places(form, text)]
        return [*found, *self._over_line_ends(text)] if "\n" in text and self._broken else found

    def _over_line_ends(self, text: str) -> Iterable[Finding]:
        """Values that are broken into lines: searched in the text without its line ends, and mapped back."""
        ends = [match.span() for match in _LINE_END.finditer(text)]
        kept = [0, *(end for _, end in ends)]
        pieces = [text[start:end] for start, end in zip(kept, [*(start for start, _ in ends), len(text)], strict=True)]
        starts = [0, *itertools.accumulate(map(len, pieces))]
        whole = "".join(pieces)
        for form in self._broken:
            for start, end in _places(form, whole):
                first, last = bisect.bisect_right(starts, start) - 1, bisect.bisect_left(starts, end) - 1
                if first != last:
                    yield Finding(_EXACT, kept[first] + start - starts[first], kept[last] + end - starts[last])


def _places(form: str, text: str) -> Iterable[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + len(form))


def _shape_findings(text: str) -> Iterable[Finding]:
    return (Finding(rule, *match.span()) for rule, shape in SHAPES for match in shape.finditer(text))


def _without_overlap(findings: Iterable[Finding]) -> list[Finding]:
    """Overlapping findings are merged into one, so that no end of a secret stays behind the mask of another."""
    merged: list[Finding] = []
    for finding in sorted(findings, key=lambda found: (found.start, -found.end)):
        if merged and finding.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, finding.end))
        else:
            merged.append(finding)
    return merged


def _forms(secret: str) -> set[str]:
    """The value itself, its lines when it has several, and how it looks after the encodings that tools apply."""
    raw = secret.strip()
    if len(raw) < SHORTEST_VALUE:
        return set()
    forms = {raw, urllib.parse.quote(raw, safe=""), urllib.parse.quote(raw), json.dumps(raw)[1:-1]}
    forms |= {raw.encode().hex(), raw.encode().hex().upper()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # The same bytes at each of the three offsets of a longer base64 text: a header "user:token" hides a
        # token this way. The outermost characters mix with their neighbours, so they are left out.
        for offset in range(3):
            text = encode(b"\0" * offset + raw.encode()).decode().rstrip("=")
            start = (offset * 8 + 5) // 6
            end = ((offset + len(raw.encode())) * 8) // 6
            forms.add(text[start:end])
        forms.add(encode(raw.encode()).decode().rstrip("="))
    if "\n" in raw:
        forms |= {line.strip() for line in raw.splitlines() if len(line.strip()) >= 4 * SHORTEST_VALUE}
    return forms
