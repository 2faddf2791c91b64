"""Looks for secrets and dangerous patterns in the lines that a run adds. Pure; a match itself is never carried.

Rules that block are about secrets: once pushed, they are lost. Rules that warn are about code that a reviewer should
see; they never hold work back.
"""

import bisect
import itertools
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from domain import redaction, work

MESSAGE_PATH: Final = "(commit message)"
HEADER_PATH: Final = "(commit header)"
_LARGE_BINARY_BYTES: Final = 1024 * 1024
_MOST_FINDINGS: Final = 100
_WINDOW: Final = 8_000
_OVERLAP: Final = 400
"""Lines of minified files are read in windows: the rules' time then grows with the length, not with its square."""


class Redactor(Protocol):
    """Knows the exact values of the secrets that this process holds."""

    def redact(self, text: str) -> str: ...

    def find_known(self, text: str) -> list[redaction.Finding]: ...


class Line(NamedTuple):
    number: int
    text: str


@dataclass(frozen=True)
class AddedText:
    """What one commit adds to one file."""

    commit: str
    path: str
    lines: tuple[Line, ...] = ()
    binary_bytes: int = 0
    """Size of a file that is no text, of which only strings were read; 0 for text."""

    @classmethod
    def of_file(cls, commit: str, path: str, content: bytes, before: Container[bytes]) -> "AddedText":
        """The lines of `content` that are not in `before`. A file that is no text gives its printable strings."""
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = content.decode("utf-16", "replace")
            lines = [line for line in text.split("\n") if line.encode() not in before]
            return cls(commit, path, tuple(Line(at, line) for at, line in enumerate(lines, 1)))
        if b"\0" in content[:8000]:
            fresh = tuple(Line(0, item.decode("ascii")) for item in _strings(content) if item not in before)
            return cls(commit, path, fresh, binary_bytes=len(content))
        return cls(
            commit,
            path,
            tuple(
                Line(at, line.decode("utf-8", "replace"))
                for at, line in enumerate(content.split(b"\n"), 1)
                if line not in before
            ),
        )

    @classmethod
    def of_message(cls, commit: str, message: str) -> "AddedText":
        return cls(commit, MESSAGE_PATH, tuple(Line(at, line) for at, line in enumerate(message.splitlines(), 1)))

    @classmethod
    def of_header(cls, commit: str, header: str) -> "AddedText":
        """Author, committer, and whatever else a commit says above its message."""
        return cls(commit, HEADER_PATH, tuple(Line(0, line) for line in header.splitlines()))

    @classmethod
    def of_name(cls, commit: str, path: str, link_target: str = "") -> "AddedText":
        """A new path itself, and where it points when it is a symlink."""
        return cls(commit, path, tuple(Line(0, text) for text in (path, link_target) if text))


def _strings(content: bytes) -> Iterator[bytes]:
    """Printable text in a file that is none, also where every character has two bytes: an encoding without a mark at
    its beginning is no reason to look away."""
    yield from re.findall(rb"[\x20-\x7e]{8,}", content)
    for wide in (rb"(?:[\x20-\x7e]\x00){8,}", rb"(?:\x00[\x20-\x7e]){8,}"):
        yield from (item.replace(b"\0", b"") for item in re.findall(wide, content))


class _Rule(NamedTuple):
    name: str
    pattern: re.Pattern[str]
    hint: str


def _warning(name: str, pattern: str, hint: str) -> _Rule:
    return _Rule(name, re.compile(pattern), hint)


_SECRET_HINT: Final = "remove it from every commit of the branch, and revoke it if it is real"
_WARNINGS: Final = (
    _warning("eval", r"(?<![\w.])eval\s{0,3}\(", "eval runs text as code"),
    _warning("exec", r"(?<![\w.])exec\s{0,3}\(", "exec runs text as code"),
    _warning("shell-true", r"\bshell\s{0,3}=\s{0,3}True\b", "a shell reads the whole command line"),
    _warning("os-system", r"\bos\.(?:system|popen)\s{0,3}\(", "a shell reads the whole command line"),
    _warning(
        "recursive-root-delete",
        r"\brm\s{1,5}(?:-[\w-]{1,20}\s{1,5}){0,4}-(?:[a-zA-Z]{0,8}[rR][a-zA-Z]{0,8}|-recursive)\s{1,5}"
        r"(?:-[\w-]{1,20}\s{1,5}){0,4}[\"']?(?:/|~|\$\{?HOME\}?)(?:/?\*|/)?[\"']?(?=\s|[;&|)\"']|$)"
        r"|\brmtree\(\s{0,3}[\"'](?:/|~)[\"']",
        "deletes everything below the root or the home directory",
    ),
    _warning("chmod-777", r"\bchmod\b[^#\n]{0,60}?(?<![0-9])0?o?777\b|\ba\+rwx\b", "everybody may write there"),
    _warning(
        "sql-in-f-string",
        r"\b[fF][rR]?(?:\"{1,3}|'{1,3})(?i:\s{0,20}(?:SELECT\b.{1,200}\bFROM|INSERT\s+INTO|UPDATE\b.{1,200}\bSET"
        r"|DELETE\s+FROM)\b).{0,400}\{",
        "values belong into parameters, not into the statement",
    ),
    _warning(
        "tls-verification-off",
        r"\bverify\s{0,3}=\s{0,3}False\b|\brejectUnauthorized[\"']?\s{0,3}:\s{0,3}false\b"
        r"|\bInsecureSkipVerify\s{0,3}:\s{0,3}true\b|\bNODE_TLS_REJECT_UNAUTHORIZED\b|\b_create_unverified_context\b"
        r"|\bCERT_NONE\b|\bcurl\b.{0,100}\s(?:-k|--insecure)\b|\bsslVerify\b.{0,5}\bfalse\b"
        r"|\bSSL_VERIFYPEER\b.{0,5}(?:0|false)\b",
        "the other side is not proven",
    ),
    _warning(
        "wildcard-cors",
        r"(?i)\baccess-control-allow-origin\b[\"']?\s{0,3}[:,=]?\s{0,3}[\"']?\*"
        r"|\ballow_?origins?\b[\"']?\s{0,3}[:=]\s{0,3}\[?\s{0,3}[\"']\*[\"']"
        r"|\bcors\(\s{0,3}\{?\s{0,3}origin\s{0,3}:\s{0,3}[\"']\*[\"']|\bCORS_ALLOW_ALL_ORIGINS\s{0,3}=\s{0,3}True\b",
        "every site may read the answers",
    ),
)

_NAME: Final = (
    r"(?:api[_-]?key|apikey|secret(?:[_-]?key)?|access[_-]?key|auth[_-]?token|access[_-]?token|refresh[_-]?token|token"
    r"|passw(?:or)?d|passphrase|client[_-]?secret|private[_-]?key|credentials?)"
)
_QUOTED_ASSIGNMENT: Final = re.compile(
    rf"(?i)(?<![a-z0-9])[\w-]{{0,40}}{_NAME}[\w-]{{0,20}}[\"'\]]{{0,2}}\s{{0,5}}(?::=|=>|[:=,(])\s{{0,5}}"
    r"(?:[rbuf]{0,2})([\"'`])(?P<value>[^\"'`\s]{12,500})\1"
)
_BARE_ASSIGNMENT: Final = re.compile(
    rf"(?i)^\s{{0,20}}(?:export\s+|set\s+|-\s+|ENV\s+|ARG\s+)?[\w.-]{{0,60}}{_NAME}[\w.-]{{0,20}}\s{{0,5}}[:=]\s{{0,5}}"
    r"(?P<value>[^\"'`\s#;]{12,500})\s{0,20}(?:[#;].{0,500})?$"
)
_BEARER: Final = re.compile(
    r"(?i)\b(?:bearer|authorization[\"']?\s{0,3}[:=,]\s{0,3}[\"']?(?:token|basic|bearer))\s{1,3}"
    r"(?P<value>[A-Za-z0-9._~+/=-]{20,2000})"
)
_PLACEHOLDER: Final = re.compile(
    r"(?i)example|placeholder|change[_-]?me|dummy|sample|redacted|your[_-]|xxxx|\*{3}|\.{3}|<[^>]*>|\$\{|\{\{|\$\(|%\("
    r"|^\$|^%|1234567|abcdef|not[_-]?a[_-]?secret|insecure|fake"
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]*\d{0,3}|[A-Z]+\d{0,3}")
_ADDRESS: Final = re.compile(r"^(?:https?|file|vault|secret|op|arn|env):|^(?:\.{1,2}|~)?(?:/[\w.-]+){2,}/?$")
"""A value that says where the secret is: a URL, `vault:…`, a path."""
_REFERENCE: Final = re.compile(r"^[A-Za-z_]\w*(?:[.\[(].*|::.*|->.*)$")
"""A bare value that is an expression: `settings.token`, `os.environ[…]`."""

_LOCK_FILES: Final = frozenset(
    {
        "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "poetry.lock", "uv.lock",
        "pdm.lock", "pipfile.lock", "cargo.lock", "go.sum", "composer.lock", "gemfile.lock", "flake.lock", "mix.lock",
        "packages.lock.json", "podfile.lock", "pubspec.lock", "gradle.lockfile", "deno.lock",
    }
)  # fmt: skip  # a table of names reads better in rows
_PROSE: Final = (".md", ".rst", ".txt", ".adoc", ".html")
_SETTINGS: Final = (
    ".ini", ".cfg", ".conf", ".properties", ".yml", ".yaml", ".toml", ".sh", ".bash", ".zsh", ".tf", ".tfvars", ".env",
)  # fmt: skip  # see above
_LOCAL_HOST: Final = re.compile(
    r"://[^\s/@]{1,300}@(?:localhost|127\.[\d.]+|\[::1\]|[\w-]+(?=[:/\s\"']|$)|[\w.-]*example\.(?:com|org|net))"
)


def scan(texts: Iterable[AddedText], redactor: Redactor) -> tuple[work.SafetyFinding, ...]:
    """Findings in what is added, blocking ones first; a rule is reported once a file and line, at most 100 in all.

    Args:
        texts: Every added text of every commit.
        redactor: Masks the exact secrets of this process as `known-secret`.
    """
    found: dict[tuple[str, str, int], work.SafetyFinding] = {}
    for text in texts:
        for finding in _scan_text(text, redactor):
            found.setdefault((finding.rule, finding.path, finding.line), finding)
    ordered = sorted(found.values(), key=lambda finding: finding.level is not work.FindingLevel.BLOCKS)
    return tuple(ordered[:_MOST_FINDINGS])


def blocks(findings: Iterable[work.SafetyFinding]) -> bool:
    return any(finding.level is work.FindingLevel.BLOCKS for finding in findings)


def _scan_text(text: AddedText, redactor: Redactor) -> Iterator[work.SafetyFinding]:
    if text.binary_bytes > _LARGE_BINARY_BYTES:
        yield work.SafetyFinding(
            rule="large-binary",
            level=work.FindingLevel.WARNS,
            path=text.path,
            commit=text.commit,
            hint=f"{text.binary_bytes} bytes that no reviewer can read; only its strings were searched for secrets",
        )
    name = text.path.rpartition("/")[2].casefold()
    guess = name not in _LOCK_FILES and not text.binary_bytes and text.path != HEADER_PATH
    warn = guess and text.path != MESSAGE_PATH and not name.endswith(_PROSE)
    path = redactor.redact(text.path)  # a match itself is never carried, not as a file's name either
    for number in _known_lines(text.lines, redactor):
        yield work.SafetyFinding(
            rule="known-secret",
            level=work.FindingLevel.BLOCKS,
            path=path,
            line=number,
            commit=text.commit,
            hint=_SECRET_HINT,
        )
    for number, line in text.lines:
        for piece in _windows(line):
            for rule, level, hint in _scan_line(piece, name, guess=guess, warn=warn):
                yield work.SafetyFinding(rule=rule, level=level, path=path, line=number, commit=text.commit, hint=hint)


def _known_lines(lines: Sequence[Line], redactor: Redactor) -> list[int]:
    """Numbers of the lines in which a value begins that this process holds. All lines at once: one that is broken into
    lines stands in none of them, and one that is longer than a window in none of the windows."""
    starts = list(itertools.accumulate((len(line.text) + 1 for line in lines), initial=0))
    found = redactor.find_known("\n".join(line.text for line in lines))
    return sorted({lines[bisect.bisect_right(starts, finding.start) - 1].number for finding in found})


def _scan_line(line: str, name: str, *, guess: bool, warn: bool) -> Iterator[tuple[str, work.FindingLevel, str]]:
    blocking = list(dict.fromkeys(_secret_rules(line, name, guess=guess)))
    for rule in blocking:
        if rule == "url-password" and (_LOCAL_HOST.search(line) or _PLACEHOLDER.search(line)):
            yield rule, work.FindingLevel.WARNS, "a password in a URL ends up in logs"
        else:
            yield rule, work.FindingLevel.BLOCKS, _SECRET_HINT
    if warn:
        yield from ((rule, work.FindingLevel.WARNS, hint) for rule, seen, hint in _WARNINGS if seen.search(line))


def _secret_rules(line: str, name: str, *, guess: bool) -> Iterator[str]:
    yield from redaction.find_token_shapes(line)
    if not guess:
        return
    for match in _QUOTED_ASSIGNMENT.finditer(line):
        if _looks_random(match["value"]):
            yield "api-key-assignment"
    if (
        _is_settings(name)
        and (bare := _BARE_ASSIGNMENT.search(line))
        and (not _REFERENCE.match(bare["value"]) and _looks_random(bare["value"]))
    ):
        yield "api-key-assignment"
    for match in _BEARER.finditer(line):
        if _looks_random(match["value"]):
            yield "bearer-token"


def _is_settings(name: str) -> bool:
    """Files whose values stand without quotes: settings, `.env` and its relatives, and files without an extension."""
    return "." not in name.lstrip(".") or name.startswith(".env") or name.endswith(_SETTINGS)


def _looks_random(value: str) -> bool:
    """Whether a value is a secret rather than a word, a placeholder or the address of one.

    3.0 bits a character lies between words with a number behind them (below) and 16 random hex digits (above).
    """
    if _PLACEHOLDER.search(value) or _ADDRESS.match(value):
        return False
    if all(_WORD.fullmatch(part) for part in re.split(r"[_.:/-]", value)):
        return False
    digits = sum(char.isdigit() for char in value)
    letters = sum(char.isalpha() for char in value)
    if not digits or not letters:
        return False
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
    return entropy >= 3.0


def _windows(line: str) -> Iterator[str]:
    for start in range(0, max(1, len(line)), _WINDOW - _OVERLAP):
        yield line[start : start + _WINDOW]
        if start + _WINDOW >= len(line):
            return
