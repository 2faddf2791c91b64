"""Many questions to the code graph at once: a file of them in, a file of answers out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cli import failures, graphs, render
from codegraph import batch
from domain.numerals import counted


@dataclass(frozen=True)
class Files:
    """The questions, where their answers go, and the cases that the questions name."""

    questions: Path | None
    out: Path | None
    cases: Path | None


def wanted(
    questions: Path | None, out: Path | None, mirror: Path | None, cases: Path | None, single: Sequence[str]
) -> bool:
    """Whether a file of questions is to be answered.

    Raises:
        failures.Usage: What was given belongs half to one question and half to many.
    """
    if questions is None and (out or mirror or cases):
        raise failures.Usage("--out, --mirror and --cases belong to --batch, which was not given: give it too")
    if questions is not None and any(single):
        raise failures.Usage("--batch asks the questions of its file, and another one was given: leave one of them out")
    if questions is not None and out is None:
        raise failures.Usage("--batch answers into a file, none was named: name it with --out")
    return questions is not None


def run(
    kind: str, files: Files, repos: Sequence[Path] | None, mirror: Path | None, folder: Path | None, *, as_json: bool
) -> None:
    """Answer a file of questions.

    Raises:
        failures.Failed: Some could not be answered; the answers of the others are written.
    """
    assert files.questions is not None
    assert files.out is not None
    given = [Path()] if repos is None and mirror is None else list(repos or ())
    if mirror is not None and not mirror.is_dir():
        raise failures.Usage(f"{mirror} is no folder: name one that holds repositories as owner+name/repo")
    asked = [each.resolve() for each in (files.questions, files.cases) if each]
    if files.out.resolve() in asked:
        raise failures.Usage(f"--out names {files.out}, which holds the questions: name another file for the answers")
    try:
        with graphs.spoken():
            cases = batch.read(files.cases) if files.cases else ()
            places = batch.Places(given, mirror, folder)
            report = batch.run(kind, batch.read(files.questions), places, files.out, cases, render.progress)
    except batch.Error as error:
        raise failures.Failed(str(error)) from error
    line = f"{counted(report.written, 'answer')} in {files.out}, after {report.seconds:.1f} s"
    if report.elsewhere:
        line += f"; {counted(report.elsewhere, 'question')} left out, no repository given holds their commits"
    render.emit(asdict(report) | {"out": str(files.out)}, line, as_json=as_json)
    if report.failed:
        name, why = next(iter(report.failed.items()))
        raise failures.Failed(f"{counted(len(report.failed), 'question')} could not be answered, first {name}: {why}")
