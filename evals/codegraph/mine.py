"""Mine labelled cases from a repository's history: the text of a commit asks, the files that it changed answer.

    python -m evals.codegraph.mine --out cases.jsonl --most 80 PATH [PATH ...]

A case has the form of the benchmark's own (`id`, `repo`, `parent`, `title`, `text`, `gold`, ...). Kept are ordinary
commits since 2016 by people, with 1 to 6 changed source files that existed before (2 to 500 changed lines in them),
none deleted or renamed, and at most 25 files in all. Subjects of one word are left out, those about documents, typing,
lint, formatting, comments, versions, renames, merges and reverts, and texts of less than 60 characters: an issue says
more. About half of the cases change several files, where a repository has as many. The text loses what would give the
answer away, as far as patterns find it: links, paths, file names, numbers of issues, hashes, scopes, lines of trailers
and references.
"""

import argparse
import itertools
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codegraph import languages, skips

_SEED = 20261120
_BORING = re.compile(
    r"\b(docs?|documentation|typo|typing|type hints?|annotations?|lint|ruff|flake8|mypy|isort|black|format(ting)?|bump|"
    r"release|version|changelog|rename|renamed|upgrade|update dependencies|copyright|license|merge|revert|whitespace|"
    r"spelling|comments?|readme|cleanup imports)\b",
    re.IGNORECASE,
)
_BOT = re.compile(r"\[bot\]|dependabot|renovate|greenkeeper|pre-commit-ci|github-actions|\bbot\b", re.IGNORECASE)
_TRAILER = re.compile(
    r"\n(?:(?:[a-z]+-)+by|change-id|cc|bug|issue)[ \t]*:.*$"
    r"|\n(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?|refs?|see|part of|pr)[ \t:]+(?:[\w./-]*#\d|gh-\d|https?:).*$",
    re.IGNORECASE | re.M,
)
_GONE = (
    re.compile(r"https?://\S+"),
    re.compile(r"\b[\w.@-]*(?:/[\w.@-]+)+\.\w+\b"),
    re.compile(
        r"\b[\w-]+\.(py|pyx|js|jsx|ts|tsx|mjs|cjs|go|rs|java|c|h|cc|cpp|hpp|cs|rb|php|sh|md|rst|txt|json|ya?ml|toml)\b"
    ),
    re.compile(r"\b[\w.-]+(?:/[\w.-]+){2,}\b"),
    re.compile(r"\(?#\d+\)?|\bgh-\d+\b", re.IGNORECASE),
    re.compile(r"\b[0-9a-f]{7,40}\b"),
    re.compile(r"^\s*[-*] \[[ xX]\].*$", re.M),
)
_LEAST = 60
"""Characters of a text that is a question; an issue says more than a subject."""
_MOST = 4_000
"""Characters of a message that are read: a pasted log says no more, and the patterns are slow on long ones."""
_SCOPE = re.compile(r"^(\w+)\([^)]*\)(!?):")
_PREFIX = re.compile(r"^([\w./*, -]{1,40}):\s+")
_HEADER = "--commit--"


def cleaned(message: str, gold: list[str]) -> tuple[str, str]:
    """Title and text of a commit message without what names its files outright."""
    message = _TRAILER.sub("", message[:_MOST])
    message = _SCOPE.sub(r"\1\2:", message)
    prefix = _PREFIX.match(message)
    if prefix:
        named = {part.lower() for path in gold for part in re.split(r"[/.]", path)}
        if any(word.lower() in named for word in re.split(r"[\s,/.*]+", prefix.group(1)) if word):
            message = message[prefix.end() :]
    for pattern in _GONE:
        message = pattern.sub("", message)
    lines = [" ".join(line.split()) for line in message.strip().splitlines()]
    title = lines[0].strip() if lines else ""
    return title, "\n".join([title, *(line for line in lines[1:] if any(map(str.isalpha, line)))]).strip()


def _log(git_dir: Path, since: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    form = f"{_HEADER}%n%H%n%P%n%ad%n%an <%ae>%n%B%x00"
    command = [
        "git",
        f"--git-dir={git_dir}",
        "-c",
        "core.quotePath=false",
        "log",
        "--no-merges",
        f"--since={since}",
        "--date=short",
        "-M100%",  # needs no contents, which a copy may not have: then a rename with changes is a deleted file
        f"--format={form}",
        "--raw",
        "--no-abbrev",
    ]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")
    for block in text.split(f"{_HEADER}\n")[1:]:
        head, _, tail = block.partition("\0")
        yield head.split("\n", 4), [line.split("\t") for line in tail.strip().splitlines() if line.strip()]


def _changed_lines(git_dir: Path, case: dict[str, Any]) -> int:
    """Lines that a case's commit adds and removes in its right files; 0 where the copy does not hold them."""
    command = ["git", f"--git-dir={git_dir}", "diff", "--numstat", "--no-renames", case["parent"], case["commit"], "--"]
    done = subprocess.run([*command, *case["gold"]], capture_output=True, check=False)
    rows = [line.split("\t") for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return sum(int(count) for row in rows for count in row[:2] if count.isdigit()) if done.returncode == 0 else 0


def _case(name: str, head: list[str], rows: list[list[str]]) -> dict[str, Any] | None:
    sha, parents, date, author, message = (*head, "")[:5]
    parent = parents.split()
    subject = message.split("\n", 1)[0]
    if len(parent) != 1 or _BOT.search(author) or _BORING.search(subject):
        return None
    status = {row[-1]: row[0].split()[-1] for row in rows if row[0].startswith(":")}
    if not 1 <= len(status) <= 25:
        return None
    gold, tests = [], []
    for path, letter in status.items():
        if languages.language_of(path) is None or skips.by_path(path):
            continue
        if skips.is_test(path):
            if letter == "M":
                tests.append(path)
            continue
        if letter.startswith(("R", "D", "C")):
            return None
        if letter == "M":
            gold.append(path)
    title, text = cleaned(message, gold)
    if not 1 <= len(gold) <= 6 or len(title.split()) < 2 or len(text) < _LEAST:
        return None
    key = f"{name.rsplit('/', 1)[-1]}-{sha[:10]}"
    return {"id": key, "repo": name, "commit": sha, "parent": parent[0], "date": date,
            "title": title, "text": text, "gold": sorted(gold), "gold_tests": sorted(tests)}  # fmt: skip


def mine(git_dir: Path, name: str, most: int, since: str = "2016-01-01") -> list[dict[str, Any]]:
    """Cases of one repository, drawn at random with a fixed seed, oldest first."""
    found = [case for head, rows in _log(git_dir, since) if (case := _case(name, head, rows))]
    random.Random(_SEED).shuffle(found)
    kinds = [[case for case in found if (len(case["gold"]) > 1) is several] for several in (True, False)]
    turns = (case for pair in itertools.zip_longest(*kinds) for case in pair if case)
    kept = list(itertools.islice((case for case in turns if 2 <= _changed_lines(git_dir, case) <= 500), most))
    return sorted(kept, key=lambda case: (str(case["date"]), str(case["id"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "paths", nargs="+", type=Path, help="git directories; owner+name/repo gives the repository's name"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=80, help="cases a repository")
    given = parser.parse_args()
    with given.out.open("w", encoding="utf-8") as out:
        for path in given.paths:
            name = path.parent.name.replace("+", "/") if path.name == "repo" else path.name
            try:
                cases = mine(path, name, given.most)
            except subprocess.CalledProcessError as error:
                print(
                    f"{name}: left out, git says: {error.stderr.decode('utf-8', 'replace').strip()[:200]}",
                    file=sys.stderr,
                )
                continue
            print(f"{name}: {len(cases)} cases", file=sys.stderr)
            out.writelines(json.dumps(case) + "\n" for case in cases)


if __name__ == "__main__":
    main()
