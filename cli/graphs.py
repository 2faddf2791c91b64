"""Questions to the code graph of one repository: what is asked, at which commit, and the one answer."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli import failures, graph_pages, render
from codegraph import answers, changes, graph, languages, objects, patch, pool, store
from domain.numerals import counted

_MOST_BYTES: Final = 20_000_000
"""Of a text, a stack trace or a diff."""
_QUIET_SECONDS: Final = 2.0
"""How long reading may take before it is spoken of, and from then on the time between two words of it."""


@dataclass(frozen=True)
class Place:
    """Which repository is asked, at which commit, and where its store is (None: in the repository)."""

    repo: Path
    rev: str
    folder: Path | None

    @classmethod
    def only(cls, repos: Sequence[Path] | None, rev: str, folder: Path | None) -> "Place":
        """The one repository that was named, or this folder.

        Raises:
            failures.Usage: There are several, and one question is asked of one.
        """
        if repos and len(repos) > 1:
            raise failures.Usage(f"one question is asked of one repository, {len(repos)} were named: name one --repo")
        return cls(repos[0] if repos else Path(), rev, folder)


@dataclass(frozen=True)
class Work:
    """What a change is given as: a range or paths, two commits, or a file that holds a diff."""

    what: tuple[str, ...] = ()
    base: str = ""
    head: str = ""
    diff: str = ""

    def resolved(self) -> "Work":
        """The same with a range taken apart.

        Raises:
            failures.Usage: It is given in no way, or in two.
        """
        found = self
        if len(self.what) == 1 and ".." in self.what[0] and "/.." not in self.what[0] and "../" not in self.what[0]:
            if "..." in self.what[0]:
                one, _, other = self.what[0].partition("...")
                raise failures.Usage(
                    f"{self.what[0]} means the commit where the two parted, two commits are read here: "
                    f"give $(git merge-base {one or 'HEAD'} {other or 'HEAD'})..{other or 'HEAD'}"
                )
            base, _, head = self.what[0].partition("..")
            found = Work((), base or "HEAD", head or "HEAD", self.diff)
            if self.base or self.head:
                raise failures.Usage("a range and --base or --head say the same thing twice: give one of them")
        if found.head and not found.base:
            raise failures.Usage("--head says where a change ends, nothing says where it begins: give --base too")
        given = [bool(found.what), bool(found.base), bool(found.diff)]
        if sum(given) != 1:
            said = "nothing" if not any(given) else "more than one of them"
            raise failures.Usage(f"a change is BASE..HEAD, --diff FILE or paths, {said} was given: give one")
        return found


@contextlib.contextmanager
def spoken(repo: Path | None = None, rev: str = "") -> Iterator[None]:
    """Turns what the graph raises into sentences for people."""
    try:
        yield
    except objects.NotARepository as error:
        place = f"{repo} holds no git repository" if repo else error.detail
        raise failures.Usage(f"{place}: name one with --repo") from error
    except objects.NoSuchRevision as error:
        if rev == "HEAD" and "'HEAD'" in error.detail:
            raise failures.Usage(f"{repo} has no commit yet: make one first, or name another with --rev") from error
        raise failures.Usage(f"{error.detail}: see git log, and fetch it if it is elsewhere") from error
    except (objects.Error, pool.Error) as error:
        raise failures.Failed(str(error)) from error


@dataclass(frozen=True)
class Opened:
    """A graph that stands at a commit; `read` files were read for that, and the store is in `folder`."""

    held: graph.Graph
    kept: store.Store
    folder: Path
    read: int


@contextlib.contextmanager
def opened(place: Place, rev: str = "") -> Iterator[Opened]:
    """Stand at the commit; what is lacking for good answers is said on stderr."""
    wanted, asked = rev or place.rev, _Progress()
    with spoken(place.repo, wanted):
        repository = objects.Repository(place.repo)
        folder = place.folder or repository.common_dir / "fettle"
        with store.Store(folder) as kept, contextlib.closing(repository):
            held = graph.Graph(repository, kept)
            held.at(wanted, progress=asked)
            for note in notes(answers.about(held)):
                render.progress(note)
            yield Opened(held, kept, folder, asked.count)


def index(place: Place, *, as_json: bool) -> None:
    """Read a revision and print what was read."""
    began = time.monotonic()
    with opened(place) as at:
        seconds = round(time.monotonic() - began, 3)
        answer = answers.stats(at.held)
        answer |= {"read": max(0, at.read - answer["absent"]), "seconds": seconds, "kept": not at.kept.volatile}
    _emit(answer | {"store": str(at.folder), "bytes": answers.stored(at.folder)}, graph_pages.index, as_json=as_json)


def stats(place: Place, *, as_json: bool) -> None:
    """Print what a revision holds."""
    with opened(place) as at:
        _emit(answers.stats(at.held), graph_pages.stats, as_json=as_json)


def locate(place: Place, text: str, most: int, *, as_json: bool) -> None:
    """Print files and definitions for a text."""
    asked = said(text)
    with opened(place) as at:
        _emit(answers.locate(at.held, asked, most), graph_pages.locate, as_json=as_json)


def blast(place: Place, given: Work, most: int, *, as_json: bool) -> None:
    """Print what a change bears on."""
    work = given.resolved()
    diff = _bytes(work.diff) if work.diff else b""
    with opened(place, work.base) as at:
        if work.base:
            changed = changes.between(at.held.repository, work.base, work.head or "HEAD", at.held.revision)
        elif work.diff:
            changed = patch.read(diff, at.held.revision)
        else:
            changed = tuple(answers.whole(at.held, _known(at.held, path)) for path in work.what)
        _emit(answers.radius(at.held, changed, most), graph_pages.blast, as_json=as_json)


def frames(place: Place, file: str, names: Sequence[str], *, as_json: bool) -> None:
    """Print where the frames of a stack trace run."""
    if not file:
        raise failures.Usage("no stack trace was given: name a file with its JSON, or - for stdin")
    try:
        value = json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise failures.Usage(f"{_source(file)} is no JSON ({error}): give the event or the frames as JSON") from None
    with opened(place) as at:
        _emit(answers.traced(at.held, value, names), graph_pages.frames, as_json=as_json)


def conflict(place: Place, one: str, other: str, *, as_json: bool) -> None:
    """Print how likely two texts collide."""
    if one == other == "-":
        raise failures.Usage("both texts would come from stdin, which ends once: give one as @FILE")
    texts = [said(one), said(other)]
    with opened(place) as at:
        answer = answers.clashes(at.held, texts)
        answer |= answer.pop("clashes")[0]
        _emit(answer, graph_pages.conflict, as_json=as_json)


def with_branches(one: str, other: str) -> str:
    """The one text that is compared with branches.

    Raises:
        failures.Usage: Two were given.
    """
    if other:
        raise failures.Usage("--branch compares one text with branches, and two were given: leave one of them out")
    return one


def under_way(place: Place, text: str, branches: Sequence[str], *, as_json: bool) -> None:
    """Print how likely a text's work collides with the work on some branches."""
    asked = said(text)
    with opened(place) as at:
        _emit(answers.under_way(at.held, asked, branches), graph_pages.under_way, as_json=as_json)


def draw(place: Place, text: str, budget: int, *, as_json: bool) -> None:
    """Print a map for a text."""
    asked = said(text)
    with opened(place) as at:
        _emit(answers.mapped(at.held, asked, budget), graph_pages.drawn, as_json=as_json)


def explain(place: Place, text: str, path: str, *, as_json: bool) -> None:
    """Print why a file is where it is for a text."""
    asked = said(text)
    with opened(place) as at:
        _emit(answers.explained(at.held, asked, path), graph_pages.explain, as_json=as_json)


def said(text: str) -> str:
    """The text that an argument means.

    Raises:
        failures.Usage: There is none, or the file cannot be read.
    """
    if text == "-" or text.startswith("@"):
        text = _bytes(text if text == "-" else text[1:]).decode("utf-8", "replace")
    if not text.strip():
        raise failures.Usage("no text was given: give one, @FILE, or - for stdin")
    return text


def notes(answer: answers.Value) -> Iterator[str]:
    """What an answer lacks, each with what to do about it."""
    if absent := answer["absent"]:
        said = f"the contents of {counted(absent, 'file')} are not in this clone, so they are left out"
        yield f"note: {said}: git fetch --refetch --no-filter brings them"
    for language, count in answer["missing_grammars"].items():
        package = languages.LANGUAGES[language].module.replace("_", "-")
        yield f"note: no grammar for {language}, so of {counted(count, 'file')} only words are known: install {package}"
    if answer["shallow"]:
        yield f"note: {answer['problem']}, {answer['commits']} commits are known: git fetch --unshallow brings the rest"
    elif answer["problem"]:
        yield f"note: the past is not known ({answer['problem']}): answers rest on the code alone"


class _Progress:
    """Says on stderr how far reading is, once it takes long.

    Attributes:
        count: How many files there were to read.
    """

    def __init__(self) -> None:
        self.count = 0
        self._spoke = time.monotonic()

    def __call__(self, done: int, count: int) -> None:
        self.count = count
        if time.monotonic() - self._spoke > _QUIET_SECONDS:
            self._spoke = time.monotonic()
            render.progress(f"{done} of {count} files read")


def _emit(answer: answers.Value, page: Callable[[Any], None], *, as_json: bool) -> None:
    if as_json:
        render.emit_json(answer)
    else:
        page(answer)


def _known(held: graph.Graph, path: str) -> str:
    """A path of the revision, as a person typed it."""
    path = objects.readable(path.removeprefix("./"))
    if held.manifest is None or path not in held.manifest.files:
        rev = held.manifest.rev[:12] if held.manifest else ""
        raise failures.Usage(
            f"{path} is no file of {rev}: give paths from the root of the repository, a range, or --diff for new files"
        )
    return path


def _bytes(file: str) -> bytes:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as opened_file:
                data = opened_file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise failures.Usage(f"{file} cannot be read ({error.strerror}): name a file, or - for stdin") from None
    if len(data) > _MOST_BYTES:
        raise failures.Usage(f"{_source(file)} has more than {_MOST_BYTES} bytes: give less")
    return data


def _source(file: str) -> str:
    return "stdin" if file == "-" else file
