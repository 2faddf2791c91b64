"""Answers one question about the code of a repository: a program of its own, so that it can be ended at any time.

The question is one JSON object on standard input, the answer one on standard output. Nothing is cleaned here: paths
and signatures are as their authors wrote them.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from codegraph import blast, changes, frames, graph, navigate, skips
from codegraph import map as drawing

_WORKERS: Final = 2
_MOST_TESTS: Final = 8
Question = Mapping[str, Any]


def main() -> None:
    asked = json.load(sys.stdin)
    answer = _ANSWERS[asked["ask"]](asked)
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))


def _map(asked: Question) -> dict[str, Any]:
    """`repository`, `rev`, `text`, `budget` in tokens → `text`, `gaps`."""
    standing = _at(asked)
    report = standing.manifest.report if standing.manifest else None
    if not len(standing.revision.sources):
        return {"missing": "it has no source file in a language that is read"}
    found = navigate.locate(standing.revision, asked["text"])
    by_path: dict[str, list[drawing.Symbol]] = defaultdict(list)
    for each in found.symbols:
        by_path[each.path].append(drawing.Symbol(each.name, each.line, each.signature))
    entries = [drawing.Entry(hit.path, hit.reasons, by_path[hit.path]) for hit in found.files]
    paths = [hit.path for hit in found.files[: drawing.MOST_FILES]]
    tests = navigate.covering_tests(standing.revision, paths, _MOST_TESTS)
    text = drawing.render(entries, tests, asked["budget"])
    if not text:
        return {"missing": "no file holds a word of the task"}
    return {"text": text, "gaps": _gaps(report.unparsed if report else {}, report.missing if report else {})}


def _gaps(unparsed: Mapping[str, int], no_grammar: Mapping[str, int]) -> str:
    parts = [
        f"{count} in {language}{' (its grammar is not installed)' if language in no_grammar else ''}"
        for language, count in unparsed.items()
    ]
    return f"known by their words alone: {', '.join(parts)}" if parts else ""


def _blast(asked: Question) -> dict[str, Any]:
    """`repository`, `rev` (the base), `head` → `review`, `tests`, `watch`, `changed_tests`."""
    standing = _at(asked)
    repository, head = standing.repository, asked["head"]
    changed = changes.between(repository, asked["rev"], head, standing.revision)
    found = blast.radius(standing.revision, changed)
    held = {entry.path for entry in repository.ls_tree(head)}
    lists = {"review": found.review, "tests": found.tests, "watch": found.watch}
    return {
        **{name: [_touched(each) for each in files if each.path in held] for name, files in lists.items()},
        "left_out": found.left_out,
        "changed_tests": [each.path for each in changed if each.path in held and skips.is_test(each.path)],
    }


def _touched(each: blast.Touched) -> dict[str, Any]:
    return {"path": each.path, "probability": each.probability, "reasons": each.reasons}


def _suspects(asked: Question) -> dict[str, Any]:
    """`repository`, `rev`, `trace` (any JSON with frames in it), `names` → `files`, `frames`, `foreign`."""
    standing = _at(asked)
    assert standing.manifest is not None  # it stands at a revision
    held = {**standing.revision.sources.facts, **standing.revision.tests.facts}
    finder = frames.at(standing.repository, standing.manifest, held, asked["names"])
    seen = frames.trace(asked["trace"])
    places = [finder.place(each) for each in seen]
    return {
        "files": [_suspect(each) for each in frames.rank(seen, places)],
        "frames": len(seen),
        "foreign": sum(each.path is None for each in places),
    }


def _suspect(each: frames.Suspect) -> dict[str, Any]:
    return {"path": each.path, "score": each.score, "places": _places(each.places), "reasons": each.reasons}


def _places(places: Sequence[frames.Place]) -> list[dict[str, Any]]:
    return [
        {
            "path": each.path,
            "symbol": each.symbol or "",
            "line": each.line,
            "confidence": each.confidence,
            "reason": each.reason,
        }
        for each in places
    ]


def _at(asked: Question) -> graph.Graph:
    standing = graph.Graph.open(Path(asked["repository"]), workers=_WORKERS)
    standing.at(asked["rev"])
    return standing


_ANSWERS: Final[Mapping[str, Callable[[Question], dict[str, Any]]]] = {
    "map": _map,
    "blast": _blast,
    "suspects": _suspects,
}
