"""Why a file stands where it stands among the files that a text asks for: its evidence, column by column, in words."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from codegraph import columns, features, manifest, model, navigate, question
from codegraph.revision import Revision

TOGETHER: Final = "together"
"""The name under which what the trees add is told."""
WORDS: Final[Mapping[str, str]] = {
    TOGETHER: "what the evidence says together, beyond what each of it says alone",
    "words_top": "its text holds the words of the question",
    "words_share": "share of the question's words that its text holds, the rare ones more",
    "words_place": "its place by words alone (1 for the first, 1/2 for the second)",
    "title_words_top": "its text holds the words of the first line",
    "title_words_share": "share of the first line's words that its text holds, the rare ones more",
    "covered": "how many of the question's words it holds at all",
    "title_covered": "how many of the first line's words it holds at all",
    "chunk_top": "one definition of it holds many of the words",
    "chunks_top": "three definitions of it together hold many of the words",
    "chunk_share": "share of the question that its best definition holds",
    "title_chunk_top": "one definition of it holds the words of the first line",
    "names_top": "the names that it defines hold the words",
    "names_share": "share of the question that the names in it hold",
    "title_names_top": "the names that it defines hold the words of the first line",
    "path_covered": "its path holds words of the question",
    "path_share": "share of its path that the question says",
    "stem_match": "the question says its name",
    "title_path_covered": "its path holds words of the first line",
    "mentioned": "the question names its path",
    "defined": "it defines names that the question says, the rare ones more",
    "identifiers": "share of the question's code names that it holds",
    "votes_top": "past changes with these words touched it",
    "best_vote_top": "the most similar past change that touched it",
    "title_votes_top": "past changes with the words of the first line touched it",
    "votes_place": "its place by past changes alone",
    "bridge_top": "tests that hold the words are about it",
    "bridge_best_top": "the best test that is about it holds the words",
    "near_top": "it imports, or is imported by, files that hold the words",
    "together_top": "it changes together with files that hold the words",
    "folder_top": "files of its folder hold the words",
    "churn_top": "how often it is changed",
    "churn_place": "its place by how often it is changed",
    "last_change": "how long ago it was changed (1: never, as far as is known)",
    "lines": "its length",
    "definitions": "how many definitions it has",
    "importers": "how many files import it",
    "facade": "whether its name is one of the general ones, such as index or main",
    "depth": "how deep it lies",
    "files": "how many files there are",
    "asked": "how many words are asked",
    "body": "whether there is more than a first line",
    "gap": "how far the first file by words is ahead of the second",
    "cosine_top": "how similar its words are to the question's",
    "base": "words and names together",
    "more_top": "its text holds words that past changes use together with those of the question",
    "more_chunk_top": "one definition of it holds words that past changes use together with those of the question",
    "aside": "whether it lies beside the product, as examples and scripts do",
    "language_share": "share of the files that are in its language",
    "votes_share": "share of all past changes' votes that it has",
    "together_first": "how often it changes when the first file by words does",
    "together_share": "how often it changes when the files that hold the words do",
    "callee_top": "the files that hold the words call what it defines",
    "caller_top": "it calls what the files that hold the words define",
    "first_folder": "it lies in the folder of the first file by words",
    "first_place": "its place by a first guess",
    "first_top": "a first guess",
    "blend_place": "its place by a plain mix of the evidence",
    "blend_top": "a plain mix of the evidence",
}
"""What each column of `columns.NAMES` says, for people; and the trees."""


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """One column for one file.

    Attributes:
        column: Its name.
        words: What it says.
        value: The file's value.
        place: How many candidates have a higher value, plus one.
        typical: The value of the median candidate.
        effect: What the file's score would lose with the typical value instead; below 0 where this speaks against it.
    """

    column: str
    words: str
    value: float
    place: int
    typical: float
    effect: float


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why one file is where it is.

    Attributes:
        path: The file.
        place: Its place in the whole ranking, from 1; None when it is not ranked.
        candidates: How many files are ranked.
        score: What the ranking goes by; only its order means something. None when it is not ranked.
        probability: How likely a change for the text touches it; None when it is not ranked.
        reasons: What speaks for it, strongest first, as `locate` says it.
        evidence: Every column that moves its score or differs from the typical value, the strongest effect first.
        absent: Why it is not ranked; empty when it is.
    """

    path: str
    place: int | None
    candidates: int
    score: float | None = None
    probability: float | None = None
    reasons: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    absent: str = ""


def explain(revision: Revision, made: manifest.Manifest, text: str, path: str) -> Explanation:
    """Why `path` is where it is for a text, or why it is nowhere.

    Args:
        revision: What is asked.
        made: The manifest of the same revision: it knows the files that are left out.
        text: The question, as for `navigate.locate`.
        path: From the root of the repository, with `/`.
    """
    path = path.removeprefix("./")
    asked = question.read(text)
    if not asked.weights or not len(revision.sources):
        why = "the text holds no word to look for" if len(revision.sources) else "the revision holds no source file"
        return Explanation(path, None, 0, absent=_outside(made, path) or why)
    found = features.Table(revision, asked)
    if not found.first:
        return Explanation(path, None, 0, absent=_outside(made, path) or "nothing of the text leads to any file")
    ranked = navigate.ranking(found)
    place = next((place for place, (each, _) in enumerate(ranked, 1) if each == path), None)
    if place is None:
        why = "nothing of the text points to it, and other files are nearer to those that the text points to"
        return Explanation(path, None, len(ranked), absent=_outside(made, path) or why)
    probabilities = model.calibration("locate").probabilities([score for _, score in ranked])
    answer = navigate.answered(found, place)
    return Explanation(
        path,
        place,
        len(ranked),
        round(ranked[place - 1][1], 4),
        round(probabilities[place - 1], 4),
        next((hit.reasons for hit in answer.files if hit.path == path), ()),
        tuple(_evidence(found.rows, found.rows[found.paths.index(path)])),
    )


def _outside(made: manifest.Manifest, path: str) -> str:
    """Why a file can never be ranked; empty for a source."""
    file = made.files.get(path)
    if file is None:
        return "the revision holds no such file"
    if file.skipped:
        return f"it is left out of the index: {file.skipped}"
    return "it is a test: tests are listed as those to run, not ranked" if file.role == "test" else ""


def _evidence(rows: Sequence[Sequence[float]], row: Sequence[float]) -> list[Evidence]:
    learned = model.load("locate", columns.NAMES)
    typical = [statistics.median_low(values) for values in zip(*rows, strict=True)]
    found = []
    parts = zip(columns.NAMES, row, typical, learned.parts(row), learned.parts(typical), strict=True)
    for column, (name, value, usual, given, usually) in enumerate(parts):
        effect = round(given - usually, 4)
        if effect or value != usual:
            place = 1 + sum(1 for each in rows if each[column] > value)
            found.append(Evidence(name, WORDS[name], round(value, 4), place, round(usual, 4), effect))
    found += _together(learned, rows, row)
    order = (*columns.NAMES, TOGETHER)
    return sorted(found, key=lambda each: (-abs(each.effect), order.index(each.column)))


def _together(learned: model.Weights, rows: Sequence[Sequence[float]], row: Sequence[float]) -> list[Evidence]:
    """What the trees add to a file; nothing where they add the usual."""
    added = [round(score - learned.score(each), 4) for score, each in zip(learned.scores(rows), rows, strict=True)]
    given, usual = added[list(rows).index(row)], statistics.median_low(added)
    place = 1 + sum(1 for each in added if each > given)
    effect = round(given - usual, 4)
    return [Evidence(TOGETHER, WORDS[TOGETHER], given, place, usual, effect)] if effect else []
