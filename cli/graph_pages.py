"""How answers of the code graph look to people. Names out of a repository are anybody's text: they are cleaned."""

import pathlib
from collections.abc import Sequence
from typing import Any, Final

from cli import render
from domain.numerals import counted

_SYMBOLS: Final = 10
_EVIDENCE: Final = 12
_CHANGED: Final = 10


def stats(answer: Any) -> None:
    """Languages, skipped files, the past."""
    rows = [
        (name, str(counts["files"]), str(counts["parsed"]), str(counts["unparsed"] or ""))
        for name, counts in answer["languages"].items()
    ]
    _table(("language", "files", "parsed", "words only"), rows)
    _table(("left out", "files"), [(why, str(count)) for why, count in answer["skipped"].items()])
    render.printer().print(render.facts(_summary(answer)))


def index(answer: Any) -> None:
    """What was read, and where it is kept."""
    kept = (
        f"{_near(answer['store'])}, {_size(answer['bytes'])}"
        if answer["kept"]
        else "in memory: the folder cannot be used"
    )
    left_out = sum(answer["skipped"].values())
    pairs = [
        ("read", f"{counted(answer['read'], 'file')} in {answer['seconds']:.2f} s"),
        *_summary(answer),
        ("left out", f"{counted(left_out, 'file')}: see fettle graph stats" if left_out else ""),
        ("store", kept),
    ]
    render.printer().print(render.facts(pairs))


def locate(answer: Any) -> None:
    """Files, definitions, tests."""
    if not answer["files"]:
        _say("no file holds a word of the text: say it in other words, or see fettle graph stats for what is indexed")
        return
    _touched("file", answer["files"])
    rows = [
        (_line(f"{each['path']}:{each['line']}"), _line(each["name"]), _line(each["signature"], 100))
        for each in answer["symbols"][:_SYMBOLS]
    ]
    _table(("definition", "name", "signature"), rows)
    _tests(answer["tests"])


def blast(answer: Any) -> None:
    """Three lists: to review, to run, to watch."""
    if not answer["changed"]:
        _say("the change touches no file that is indexed: see fettle graph stats for what is left out, and why")
        return
    for each in answer["changed"][:_CHANGED]:
        parts = ", ".join(each["symbols"]) or "lines outside of definitions"
        what = "new" if each["new"] else "all of it" if each["whole"] else parts
        _say(f"changed {_line(each['path'])}: {_line(what, 120)}")
    if (more := answer["changed_files"] - _CHANGED) > 0:
        _say(f"and {counted(more, 'more file')}")
    for name, title in (("review", "must review"), ("tests", "tests to run"), ("watch", "watch")):
        if answer[name]:
            _touched(title, answer[name])
    if not answer["ranked"]:
        _say("nothing else is known to depend on it")
    if answer["left_out"]:
        _say(f"{counted(answer['left_out'], 'changed file')} beyond the first ones were not looked at")


def frames(answer: Any) -> None:
    """Our files of the trace, then every frame."""
    if not answer["frames"]:
        _say("the JSON holds no frames: give a list of frames, a stack trace or an event")
        return
    if answer["suspects"]:
        rows = [
            (
                _line(each["path"]),
                ", ".join(_line(place["symbol"]) for place in each["places"] if place["symbol"]),
                _line(each["reasons"][0]),
            )
            for each in answer["suspects"]
        ]
        _table(("suspect", "definitions", "why"), rows)
    rows = [
        (
            _line(each["function"] or "?"),
            _line(f"{each['path']}:{each['line']}" if each["path"] else "not ours"),
            _line(each["reason"]),
        )
        for each in reversed(answer["frames"])
    ]
    _table(("frame, innermost first", "where", "why"), rows)


def conflict(answer: Any) -> None:
    """The probability, and what both would change."""
    if not answer["files"] and not answer["probability"]:
        _say("no file is known that both would change: as far as the words tell, both may go at once")
        return
    advice = "let one wait for the other" if answer["serialize"] else "both may go at once"
    _say(f"{_chance(answer['probability'])} likely to change a file in common: {advice}")
    for name in ("files", "symbols"):
        if answer[name]:
            rows = [(_line(each), _chance(chance)) for each, chance in answer[name]]
            _table((f"{name} of both", "likely"), rows)


def under_way(answer: Any) -> None:
    """The branches, the likeliest collision first."""
    rows = [
        (
            _line(each["branch"]),
            _chance(each["probability"]),
            "let one wait" if each["serialize"] else "both may go",
            ", ".join(_line(path) for path, _ in each["files"][:3]),
        )
        for each in answer["branches"]
    ]
    _table(("branch", "likely", "advice", "files of both"), rows)


def drawn(answer: Any) -> None:
    """The map, as it would enter a prompt."""
    if answer["map"]:
        print(answer["map"], end="")
    else:
        _say(f"nothing was found that fits {counted(answer['budget'], 'token')}: allow more, or say it in other words")


def explain(answer: Any) -> None:
    """The place, the reasons, the columns that move it most."""
    path = _line(answer["path"])
    if answer["place"] is None:
        _say(f"{path} is not among the {counted(answer['candidates'], 'file')} that are ranked: {answer['unranked']}")
        return
    chance = f"{_chance(answer['probability'])} likely to be changed"
    _say(f"{path} is number {answer['place']} of {answer['candidates']}, {chance}")
    _say(f"because: {'; '.join(_line(each) for each in answer['reasons'])}")
    rows = [
        (
            each["column"],
            f"{each['effect']:+.3f}",
            f"{each['value']:g}",
            f"{each['typical']:g}",
            str(each["place"]),
            each["words"],
        )
        for each in answer["evidence"][:_EVIDENCE]
    ]
    _table(("evidence", "effect", "value", "typical", "place", "says"), rows)


def _summary(answer: Any) -> Sequence[tuple[str, str]]:
    past = f"{counted(answer['commits'], 'commit')}{' (shallow clone)' if answer['shallow'] else ''}"
    return (
        ("revision", answer["rev"]),
        ("sources", f"{answer['sources']}, with {counted(answer['tests'], 'test file')}"),
        ("definitions", f"{answer['definitions']} in {counted(answer['lines'], 'line')}"),
        ("links", f"{counted(answer['imports'], 'import')} between files"),
        ("past", past),
    )


def _touched(title: str, hits: Any) -> None:
    rows = [
        (
            _line(hit["path"]),
            _chance(hit["probability"]),
            "; ".join(_line(each, 80) for each in hit["reasons"]),
        )
        for hit in hits
    ]
    _table((title, "likely", "why"), rows)


def _tests(paths: Sequence[str]) -> None:
    if paths:
        _say(f"tests: {', '.join(_line(path) for path in paths)}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table and an empty line; nothing for no rows."""
    if rows:
        render.printer().print(render.grid(columns, rows))
        print()


def _line(text: str, longest: int = 160) -> str:
    """One line without what a terminal would act on, cut."""
    kept = render.clean(text)
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def _near(folder: str) -> str:
    """A folder as it is seen from here, when it is below."""
    path = pathlib.Path(folder)
    return str(path.relative_to(pathlib.Path.cwd())) if path.is_relative_to(pathlib.Path.cwd()) else folder


def _chance(probability: float) -> str:
    return "under 1%" if 0 < probability < 0.01 else f"{probability:.0%}"


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 100_000 else f"{count / 1000:.0f} kB"


def _say(line: str) -> None:
    render.printer().print(render.clean(line))
