"""What the graph answers to programs: one plain JSON value for each question, the same from every entry point.

Every function asks a graph that already stands at its revision. Every answer begins with what it rests on, so that
nobody takes an answer from half of a repository for one from all of it.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from codegraph import blast, changes, conflict, explain, facts, frames, graph, manifest, map, navigate, objects, reading

Value = dict[str, Any]
_MOST_CHANGED = 1_000


def about(held: graph.Graph) -> Value:
    """What an answer rests on: the revision, how much of its past is known, which grammars are lacking, and of how many
    files the contents are."""
    return {
        "rev": _made(held).rev,
        "commits": len(held.history.commits),
        "shallow": held.history.shallow,
        "problem": held.history.problem,
        "missing_grammars": _made(held).report.missing,
        "absent": _made(held).report.skipped.get(reading.MISSING, 0),
    }


def stats(held: graph.Graph) -> Value:
    """Counts of what the revision holds."""
    made, known = _made(held), held.revision
    kept = [*known.sources.facts.values(), *known.tests.facts.values()]
    return {
        **about(held),
        "files": len(made.files),
        "sources": len(made.sources),
        "tests": len(made.tests),
        "languages": {
            name: {
                "files": count,
                "parsed": made.report.parsed.get(name, 0),
                "unparsed": made.report.unparsed.get(name, 0),
            }
            for name, count in made.report.files.items()
        },
        "skipped": made.report.skipped,
        "definitions": sum(len(each.definitions) for each in kept),
        "lines": sum(each.lines for each in kept),
        "imports": sum(len(targets) for targets in known.imports.values()),
    }


def locate(held: graph.Graph, text: str, most: int = navigate.MOST_FILES) -> Value:
    """Files and symbols for a text, and the tests that are about the first files."""
    found = navigate.locate(held.revision, text, most=most)
    return {
        **about(held),
        "files": [dataclasses.asdict(hit) for hit in found.files],
        "symbols": [dataclasses.asdict(hit) for hit in found.symbols],
        "tests": list(_tests(held, found)),
    }


def mapped(held: graph.Graph, text: str, budget: int) -> Value:
    """A map of at most `budget` tokens for a text; `map` is empty when nothing was found or nothing fits."""
    found = navigate.locate(held.revision, text)
    entries = [
        map.Entry(
            hit.path,
            hit.reasons,
            [map.Symbol(each.name, each.line, each.signature) for each in found.symbols if each.path == hit.path],
        )
        for hit in found.files[: map.MOST_FILES]
    ]
    drawn = map.render(entries, _tests(held, found), budget)
    return {**about(held), "budget": budget, "tokens": map.tokens(drawn), "map": drawn}


def radius(held: graph.Graph, changed: Sequence[changes.Change], most: int = blast.MOST) -> Value:
    """What a change bears on; of its own files the first are told, and how many there are."""
    return {
        **about(held),
        "changed_files": len(changed),
        "changed": [
            {
                "path": each.path,
                "new": each.new,
                "whole": each.definitions is None,
                "symbols": [] if each.definitions is None else list(each.names),
            }
            for each in changed[:_MOST_CHANGED]
        ],
        **dataclasses.asdict(blast.radius(held.revision, changed, most=most)),
    }


def whole(held: graph.Graph, path: str) -> changes.Change:
    """A change of a whole file. Of a file that is not indexed only the past can speak."""
    known = held.revision.sources.facts.get(path) or held.revision.tests.facts.get(path)
    return changes.Change(path, known or facts.Facts(""), None, path not in _made(held).files)


def traced(held: graph.Graph, value: object, names: Sequence[str] = ()) -> Value:
    """Suspect files for the stack trace that a JSON value holds, and a place for each of its frames."""
    stack = frames.trace(value)
    finder = finder_of(held, names)
    placed = {frame: finder.place(frame) for frame in dict.fromkeys(stack)}  # a recursion repeats its frames
    places = [placed[frame] for frame in stack]
    return {
        **about(held),
        "frames": [
            {"function": frame.function, "file": frame.abs_path or frame.filename, **dataclasses.asdict(place)}
            for frame, place in zip(stack, places, strict=True)
        ],
        "suspects": [dataclasses.asdict(each) for each in frames.rank(stack, places)],
    }


def finder_of(held: graph.Graph, names: Sequence[str]) -> frames.Finder:
    """The finder of frames at the revision."""
    known = {**held.revision.sources.facts, **held.revision.tests.facts}
    return frames.at(held.repository, _made(held), known, names)


def clashes(held: graph.Graph, texts: Sequence[str]) -> Value:
    """How likely a change for the first text collides with a change for each of the others."""
    first, *others = [conflict.forecast(held.revision, text) for text in texts]
    return {**about(held), "clashes": [dataclasses.asdict(conflict.clash(first, other)) for other in others]}


def under_way(held: graph.Graph, text: str, branches: Sequence[str]) -> Value:
    """How likely a change for a text collides with the work on each branch, the likeliest first."""
    asked = conflict.forecast(held.revision, text)
    found = []
    for branch in branches:
        base = held.repository.merge_base(_made(held).rev, branch)
        changed = changes.between(held.repository, base, held.repository.resolve(branch), held.revision)
        clash = conflict.clash(asked, conflict.of_changes(held.revision, changed))
        found.append({"branch": branch, **dataclasses.asdict(clash)})
    found.sort(key=lambda each: (-each["probability"], each["branch"]))
    return {**about(held), "branches": found}


def explained(held: graph.Graph, text: str, path: str) -> Value:
    """Why a file is where it is for a text; `unranked` says why it has no place."""
    found = dataclasses.asdict(explain.explain(held.revision, _made(held), text, objects.readable(path)))
    return {**about(held), "unranked": found.pop("absent"), **found}


def stored(folder: pathlib.Path) -> int:
    """Bytes of the store in a folder, what SQLite has not yet folded into it included."""
    return sum(file.stat().st_size for file in folder.glob("codegraph.sqlite*") if file.is_file())


def _made(held: graph.Graph) -> manifest.Manifest:
    assert held.manifest is not None, "the graph stands at no revision yet"
    return held.manifest


def _tests(held: graph.Graph, found: navigate.Answer) -> tuple[str, ...]:
    return navigate.covering_tests(held.revision, [hit.path for hit in found.files[:5]])
