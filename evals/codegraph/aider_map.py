"""What aider's repository map answers to the benchmark's cases, in the grader's format.

    PYTHON -m evals.codegraph.aider_map --mirror FOLDER --out aider.jsonl CASES

PYTHON is an interpreter that has aider-chat (`pip install aider-chat==0.86.2`; nothing of ours is imported). Its own
code ranks, as in the first turn of a chat: no file is in the chat, and what the text mentions is told in its way, the
words of the text as names, and files whose stem of five letters or more is one of them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

_MOST = 200
"""Files of an answer; the grader leaves the tests among them out."""
_LEAST_STEM = 5


class _Console:
    """What aider writes to."""

    def tool_output(self, *_: object, **__: object) -> None:
        """Nobody reads it."""

    tool_warning = tool_error = tool_output

    def read_text(self, name: str) -> str:
        """A file's text; what is no UTF-8 in it is replaced."""
        return Path(name).read_text("utf-8", "replace")


class Checkout:
    """One work tree of a repository, moved from commit to commit."""

    def __init__(self, git_dir: Path, folder: Path) -> None:
        self._git_dir, self.folder = git_dir, folder
        folder.mkdir(parents=True)

    def move(self, commit: str) -> list[str]:
        """Hold the files of a commit, but for those whose contents this copy does not have; their paths.

        Raises:
            subprocess.CalledProcessError: git could not do it.
        """
        self._git(
            "read-tree", "--reset", commit
        )  # what did not change keeps its time, and so its place in aider's cache
        self._git("checkout-index", "--all", "--force", "--index", "--quiet", check=False)
        listed = self._git("ls-files", "-z").decode("utf-8", "surrogateescape").split("\0")
        return [path for path in listed if path and (self.folder / path).is_file()]

    def _git(self, *arguments: str, check: bool = True) -> bytes:
        command = ["git", f"--git-dir={self._git_dir}", f"--work-tree={self.folder}", *arguments]
        environment = {**os.environ, "GIT_INDEX_FILE": str(self.folder.with_suffix(".index"))}
        return subprocess.run(command, check=check, capture_output=True, env=environment, cwd=self.folder).stdout


def ranked(repo_map: Any, folder: Path, paths: Sequence[str], text: str) -> list[str]:
    """Files in the order in which aider's ranked definitions first name them."""
    words = set(re.split(r"\W+", text)) - {""}
    lower = {word.lower() for word in words if len(word) >= _LEAST_STEM}
    files = {path for path in paths if Path(path).stem.lower() in lower}
    tags = repo_map.get_ranked_tags([], [str(folder / path) for path in paths], files, words)
    return list(dict.fromkeys(str(tag[0]) for tag in tags))[:_MOST]


def answers(cases: Sequence[Any], mirror: Path, scratch: Path) -> Iterator[dict[str, Any]]:
    """A row for each case; the cases of a repository stand together."""
    from aider.repomap import RepoMap  # type: ignore[import-not-found] # only where this program is run

    for repo, group in groupby(cases, key=lambda case: str(case["repo"])):
        name = repo.replace("/", "+")
        checkout = Checkout(mirror / name / "repo", scratch / name)
        repo_map = RepoMap(root=str(checkout.folder), io=_Console())
        for case in group:
            paths = checkout.move(case["parent"])
            before = time.monotonic()
            found = ranked(repo_map, checkout.folder, paths, case["text"])
            yield {"id": case["id"], "ranked": found, "query_ms": round(1000 * (time.monotonic() - before), 1)}
        print(repo, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    cases = [json.loads(line) for line in given.cases.open(encoding="utf-8")]
    cases.sort(key=lambda case: (case["repo"], case["date"], case["id"]))
    with tempfile.TemporaryDirectory() as scratch, given.out.open("w", encoding="utf-8") as out:
        for row in answers(cases, given.mirror, Path(scratch)):
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
