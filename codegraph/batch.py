"""Many questions at once, for benchmarks: each at its own commit, in an order in which each commit costs only what
differs from the one before.

Questions and answers are lines of JSON. A question whose commit none of the given repositories holds is counted and
left out, so one file of cases serves any choice of repositories.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from codegraph import answers, blast, conflict, frames, graph, navigate, objects, pool, store

Case = Mapping[str, Any]
Tell = Callable[[str], None]
"""Told in a sentence what goes on."""

KINDS: Final = ("locate", "blast", "conflict", "frames")


class Error(Exception):
    """A file of questions cannot be used as it is."""


@dataclasses.dataclass
class Report:
    """What became of a batch.

    Attributes:
        written: Answers in the file.
        elsewhere: Questions (for `conflict`: cases) whose commit none of the repositories holds.
        failed: Questions that could not be answered, by id, each with the reason.
        seconds: How long all of it took.
    """

    written: int = 0
    elsewhere: int = 0
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class Places:
    """The repositories that a batch may ask.

    Raises:
        objects.Error: One of the paths holds none.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        mirror: pathlib.Path | None = None,
        folder: pathlib.Path | None = None,
        workers: int = 2,
    ) -> None:
        """
        Args:
            paths: Repositories; a commit is looked for in their order.
            mirror: A folder that holds further ones, as `owner+name/repo` or `owner+name`.
            folder: Where their stores are kept, each in a folder of its own; None: inside each repository.
            workers: Processes that read what is not known yet.
        """
        self._given = [objects.Repository(path) for path in paths]
        self._mirror, self._folder, self._workers = mirror, folder, workers
        self._mirrored: dict[str, objects.Repository | None] = {}

    def find(self, name: str, commit: str) -> tuple[objects.Repository, str] | None:
        """The repository that holds a commit, and the commit's id."""
        mirrored = self._named(name)
        for repository in [*self._given, *([mirrored] if mirrored else [])]:
            with contextlib.suppress(objects.NoSuchRevision):
                return repository, repository.resolve(commit)
        return None

    @contextlib.contextmanager
    def graph(self, repository: objects.Repository) -> Iterator[graph.Graph]:
        """A graph of one of the repositories, for as long as the block."""
        home = repository.common_dir
        name = home.parent.name if home.name in (".git", "repo") else home.name
        kept = store.Store(self._folder / name) if self._folder else store.Store.of(home)
        with kept:
            yield graph.Graph(repository, kept, workers=self._workers)

    def close(self) -> None:
        """End the processes that wait for questions."""
        for repository in [*self._given, *filter(None, self._mirrored.values())]:
            repository.close()

    def _named(self, name: str) -> objects.Repository | None:
        folder = name.replace("/", "+")
        if self._mirror is None or not name or folder.startswith(".") or os.sep in folder:
            return None
        if name not in self._mirrored:
            self._mirrored[name] = None
            for path in (self._mirror / folder / "repo", self._mirror / folder):
                with contextlib.suppress(objects.NotARepository, OSError, ValueError):  # any text may stand for a name
                    if path.is_dir():
                        self._mirrored[name] = objects.Repository(path)
                        break
        return self._mirrored[name]


def read(path: pathlib.Path) -> list[Case]:
    """The questions of a file.

    Raises:
        Error: It cannot be read, or a line of it is no JSON object.
    """
    cases: list[Case] = []
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - the handlers below name the line
                if line.strip():
                    cases.append(_case(json.loads(line)))
    except OSError as error:
        raise Error(f"{path} cannot be read ({error.strerror}): name a file of cases, one JSON object a line") from None
    except (ValueError, RecursionError) as error:
        raise Error(f"{path}:{max(1, number)} is no case ({error}): write one JSON object a line, in UTF-8") from None
    return cases


def _case(value: object) -> Case:
    if not isinstance(value, Mapping):
        raise ValueError(f"it is a JSON {type(value).__name__}")
    return value


def run(
    kind: str,
    questions: Sequence[Case],
    places: Places,
    out: pathlib.Path,
    cases: Sequence[Case] = (),
    tell: Tell | None = None,
) -> Report:
    """Answer all questions and write the answers, one JSON object a line.

    The file is there when all of it is: until then its lines go to a file of the same name that ends in `.part`.

    Args:
        kind: One of `KINDS`.
        questions: For `locate` cases (`id`, `parent`, `text`); for `frames` frames (`id`, `commit`, `frame`); for
            `blast` seeds (`id`, `seed`) and for `conflict` pairs (`a`, `b`), both of which may also be cases: then
            every seed or pair of them is asked.
        places: Where commits are.
        out: The file that is made.
        cases: What the ids of seeds and pairs mean, when the questions do not say it themselves.
        tell: Told what goes on.

    Raises:
        Error: A seed or pair names a case that is not there, or the file cannot be written.
    """
    began = time.monotonic()
    report = Report()
    asking = {"locate": _locate, "blast": _blast, "conflict": _conflict, "frames": _frames}[kind]
    try:
        if out.exists() and not out.is_file():
            raise Error(f"{out} is no file: name one that can be replaced")
        part = out.with_name(f"{out.name}.part")
        with part.open("w", encoding="utf-8") as lines:
            for answer in asking(questions, {str(case.get("id")): case for case in cases}, _Tour(places, report, tell)):
                lines.write(json.dumps(answer) + "\n")
                lines.flush()
                report.written += 1
        part.replace(out)
    except OSError as error:
        raise Error(f"{out} cannot be written ({error.strerror}): name a place that can, with --out") from error
    finally:
        places.close()
    report.seconds = round(time.monotonic() - began, 3)
    return report


class _Tour:
    """Leads through the commits of some questions: repository by repository, the older commits first."""

    def __init__(self, places: Places, report: Report, tell: Tell | None) -> None:
        self._places, self._report, self._tell = places, report, tell
        self._told = time.monotonic()

    def __call__(self, asked: Iterable[tuple[Case, str]]) -> Iterator[tuple[graph.Graph, Case]]:
        """Each question with the graph at its commit; those that cannot be asked are counted and left out."""
        stops = list(self._stops(asked))
        for number, (held, group) in enumerate(self._groups(stops), 1):
            for case in group:
                yield held, case
            self.say(f"{number} commits done, {self._report.written} answers")

    def say(self, sentence: str) -> None:
        """Tell, but not more than every other second."""
        if self._tell and time.monotonic() - self._told > 2:
            self._told = time.monotonic()
            self._tell(sentence)

    def _stops(self, asked: Iterable[tuple[Case, str]]) -> Iterator[tuple[objects.Repository, str, Case]]:
        found: dict[tuple[str, str], tuple[objects.Repository, str] | None] = {}
        for case, commit in asked:
            key = (str(case.get("repo", "")), commit)
            if key not in found:
                found[key] = self._places.find(*key) if commit else None
            place = found[key]
            if place is None:
                self._report.elsewhere += 1
            else:
                yield *place, case

    def _groups(
        self, stops: Sequence[tuple[objects.Repository, str, Case]]
    ) -> Iterator[tuple[graph.Graph, Sequence[Case]]]:
        for repository in dict.fromkeys(repository for repository, _, _ in stops):
            shas: dict[str, list[Case]] = {}
            for where, sha, case in stops:
                if where is repository:
                    shas.setdefault(sha, []).append(case)
            with self._places.graph(repository) as held:
                for sha in _oldest_first(repository, shas):
                    try:
                        held.at(sha, progress=lambda done, total: self.say(f"{done} of {total} files read"))
                    except (objects.Error, pool.Error) as error:
                        self._report.failed |= {_id(case): str(error) for case in shas[sha]}
                        continue
                    yield held, shas[sha]


def _oldest_first(repository: objects.Repository, shas: Iterable[str]) -> list[str]:
    times: dict[str, int] = {}
    with contextlib.suppress(objects.Error):  # the order costs time when it is wrong, nothing else
        times = {change.sha: change.time for change in repository.changes(sorted(shas))}
    return sorted(shas, key=lambda sha: (times.get(sha, 0), sha))


def _locate(questions: Sequence[Case], _: Mapping[str, Case], tour: _Tour) -> Iterator[Case]:
    for held, case in tour((case, _text(case, "parent")) for case in questions):
        began = time.perf_counter()
        found = navigate.locate(held.revision, _text(case, "text") or _text(case, "title"))
        spent = time.perf_counter() - began
        yield {
            "id": case.get("id"),
            "ranked": [hit.path for hit in found.files],
            "symbols": [f"{hit.path}::{hit.name}" for hit in found.symbols],
            "query_ms": round(1000 * spent, 3),
        }


def _blast(questions: Sequence[Case], cases: Mapping[str, Case], tour: _Tour) -> Iterator[Case]:
    asked: list[tuple[Case, str]] = []
    for question in questions:
        case: Case = {**cases.get(_id(question), {}), **question}
        if "parent" not in case:
            raise Error(f"the seed of {_id(question)!r} has no parent and no case says it: name the file with --cases")
        seeds = _paths({**case, "seed": [question["seed"]]}, "seed") if "seed" in question else _seeds(case)
        asked += [({**case, "seed": seed}, _text(case, "parent")) for seed in seeds]
    for held, each in tour(asked):
        began = time.perf_counter()
        found = blast.radius(held.revision, [answers.whole(held, each["seed"])])
        spent = time.perf_counter() - began
        yield {
            "id": each.get("id"),
            "seed": each["seed"],
            "ranked": list(found.ranked),
            "query_ms": round(1000 * spent, 3),
        }


def _seeds(case: Case) -> Sequence[str]:
    """Each changed source of a case that changed more than one file."""
    gold = _paths(case, "gold")
    return gold if len(gold) + len(_paths(case, "gold_tests")) > 1 else ()


def _paths(case: Case, key: str) -> Sequence[str]:
    value = case.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Error(f"{key!r} of {_id(case)!r} names no paths but {str(value)[:80]}: write paths as text")
    return value


def _conflict(questions: Sequence[Case], cases: Mapping[str, Case], tour: _Tour) -> Iterator[Case]:
    pairs = [(_text(question, "a"), _text(question, "b")) for question in questions if "a" in question]
    known = {**{_id(each): each for each in questions if "text" in each}, **cases}
    if not pairs:
        pairs = [(one, other) for one, other in itertools.combinations(sorted(known), 2) if _same(known, one, other)]
    wanted = dict.fromkeys(itertools.chain.from_iterable(pairs))
    if (lacking := next((each for each in wanted if each not in known), None)) is not None:
        raise Error(f"a pair names {lacking!r} and no case has that id: name the file of the cases with --cases")
    forecasts = {
        _id(case): (held.repository, conflict.forecast(held.revision, _text(case, "text")))
        for held, case in tour((known[each], _text(known[each], "parent")) for each in wanted)
    }
    for one, other in pairs:
        if one in forecasts and other in forecasts and forecasts[one][0] is forecasts[other][0]:
            found = conflict.clash(forecasts[one][1], forecasts[other][1])
            yield {"a": one, "b": other, "score": found.probability, "serialize": found.serialize}


def _same(known: Mapping[str, Case], one: str, other: str) -> bool:
    return bool(known[one].get("repo") == known[other].get("repo"))


def _frames(questions: Sequence[Case], _: Mapping[str, Case], tour: _Tour) -> Iterator[Case]:
    finders: dict[tuple[str, str], frames.Finder] = {}
    for held, case in tour((case, _text(case, "commit") or _text(case, "parent")) for case in questions):
        name = _text(case, "repo")
        key = (held.manifest.rev if held.manifest else "", name)
        if key not in finders:
            finders = {key: answers.finder_of(held, [name] if name else [])}
        finder = finders[key]
        yield from frames.predictions([case], lambda *_, found=finder: found)


def _id(case: Case) -> str:
    return str(case.get("id"))


def _text(case: Case, key: str) -> str:
    value = case.get(key)
    return value if isinstance(value, str) else ""
