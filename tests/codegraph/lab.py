"""Real repositories of any shape, written by `git fast-import`: any bytes in paths, any modes, thousands of files."""

import dataclasses
import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence

LINK = 0o120000
SUBMODULE = 0o160000
_ENVIRONMENT = {
    "HOME": os.devnull,
    "XDG_CONFIG_HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "LC_ALL": "C.UTF-8",
}
Contents = bytes | tuple[int, bytes]
"""What a path holds: bytes of a file, or a mode with bytes (the id of a commit for a submodule)."""


@dataclasses.dataclass(frozen=True)
class Commit:
    """One commit to write.

    Attributes:
        files: What is set, by path; None takes a path away.
        text: Message.
        time: Seconds since 1970.
        parents: Places of the parents in the list of commits; None: the one before, if any.
        branch: Branch that is moved to it.
        whole: Whether `files` is all that it holds.
    """

    files: Mapping[bytes, Contents | None]
    text: bytes = b"change"
    time: int = 1_700_000_000
    parents: Sequence[int] | None = None
    branch: str = "main"
    whole: bool = False


def git(at: pathlib.Path, *asked: str, stdin: bytes = b"") -> str:
    """Output of one git command."""
    environment = {"PATH": os.environ["PATH"], **_ENVIRONMENT}
    ended = subprocess.run(["git", *asked], cwd=at, env=environment, input=stdin, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode("utf-8", "replace")
    return ended.stdout.decode("utf-8", "replace").strip()


def make(at: pathlib.Path, commits: Sequence[Commit], *options: str) -> list[str]:
    """A bare repository of these commits; gives their ids."""
    if not (at / "HEAD").exists():
        at.mkdir(parents=True, exist_ok=True)
        git(at, "init", "--bare", "--quiet", "--initial-branch=main", *options)
    lines: list[bytes] = []
    for place, commit in enumerate(commits):
        parents = commit.parents if commit.parents is not None else ([place - 1] if place else [])
        if not parents:
            lines.append(b"reset refs/heads/%s\n\n" % commit.branch.encode())
        lines.append(b"commit refs/heads/%s\nmark :%d\n" % (commit.branch.encode(), place + 1))
        lines.append(b"committer A <a@example.com> %d +0000\n" % commit.time)
        lines.append(b"data %d\n%s\n" % (len(commit.text), commit.text))
        lines += [(b"from :%d\n" if not n else b"merge :%d\n") % (parent + 1) for n, parent in enumerate(parents)]
        if commit.whole:
            lines.append(b"deleteall\n")
        lines += [_file(path, contents) for path, contents in commit.files.items()]
        lines.append(b"\n")
    marks = at / "marks"
    git(at, "fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=b"".join(lines))
    by_mark = dict(line.split() for line in marks.read_text().splitlines())
    return [by_mark[f":{place + 1}"] for place in range(len(commits))]


def tree(at: pathlib.Path, files: Mapping[str, Contents]) -> str:
    """A repository of one commit; gives its id."""
    return make(at, [Commit({os.fsencode(path): contents for path, contents in files.items()})])[0]


def _file(path: bytes, contents: Contents | None) -> bytes:
    if contents is None:
        return b"D %s\n" % _quoted(path)
    mode, data = contents if isinstance(contents, tuple) else (0o100644, contents)
    if mode == SUBMODULE:
        return b"M 160000 %s %s\n" % (data, _quoted(path))
    return b"M %o inline %s\ndata %d\n%s\n" % (mode, _quoted(path), len(data), data)


def _quoted(path: bytes) -> bytes:
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"
    return b'"%s"' % b"".join(bytes([c]) if c in plain else b"\\%03o" % c for c in path)
