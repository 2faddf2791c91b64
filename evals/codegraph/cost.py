"""What the index costs, in multiples of T: one thread's bare tree-sitter parse of the same files, in the same run.

    python -m evals.codegraph.cost REPOSITORY [REPOSITORY ...]

For each repository: T, a cold index by two processes, the update after a commit that changed about five files (linking
and the past included), where to look for the last commits' messages, what changes of single files can break (the first
question apart: it reads what the past spoke of), the store's bytes for each byte of source, and this process's peak
memory.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from codegraph import blast, changes, graph, languages, navigate, objects, store
from codegraph.revision import Revision


def _bare_parse(repository: objects.Repository, held: graph.Graph) -> tuple[float, int]:
    """T in seconds, the best of two, and the bytes parsed."""
    assert held.manifest is not None
    files = [held.manifest.files[path] for path in (*held.manifest.sources, *held.manifest.tests)]
    contents = dict(repository.read(sorted({each.blob for each in files})))
    sources = [(contents[each.blob] or b"", languages.grammar(each.language)[0]) for each in files]
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        for data, parser in sources:
            parser.parse(data)
        best = min(best, time.perf_counter() - started)
    return best, sum(len(data) for data, _ in sources)


def _step(repository: objects.Repository) -> tuple[str, str]:
    """A commit that changed four to six indexed files, and the one before it, near the newest."""
    for sha, _, parents in repository.commits("HEAD", 400):
        if len(parents) == 1:
            entries, gone = repository.diff_tree(parents[0], sha)
            if 4 <= sum(1 for each in entries if languages.language_of(each.path)) <= 6 and not gone:
                return parents[0], sha
    raise SystemExit("no commit of four to six files among the newest 400")


def _timed(ask: Callable[..., object], *of: object) -> float:
    """Milliseconds of one question."""
    started = time.perf_counter()
    ask(*of)
    return 1000 * (time.perf_counter() - started)


def _breaks(revision: Revision) -> list[float]:
    """Milliseconds of what a change of one file can break, for the 60 sources that were changed last."""
    assert revision.past is not None
    newest = (path for commit in revision.past.commits for path in commit.paths)
    seeds = [path for path in dict.fromkeys(newest) if path in revision.sources.facts][:60]
    whole = [(changes.Change(path, revision.sources.facts[path], None),) for path in seeds]
    return [_timed(blast.radius, revision, change) for change in whole]


def _at(spent: Sequence[float], share: float) -> float:
    return round(sorted(spent)[int(share * (len(spent) - 1))], 1)


def measured(path: Path) -> dict[str, object]:
    """The figures of one repository."""
    repository = objects.Repository(path)
    before, after = _step(repository)
    with tempfile.TemporaryDirectory() as folder:
        held = graph.Graph(repository, store.Store(Path(folder)), workers=2)
        started = time.perf_counter()
        held.at(before)
        cold = time.perf_counter() - started
        unit, size = _bare_parse(repository, held)
        started = time.perf_counter()
        revision = held.at(after)
        update = time.perf_counter() - started
        spent = [_timed(navigate.locate, revision, commit.text) for commit in held.history.commits[:60]]
        breaks = _breaks(revision)
        kept = sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())
        assert held.manifest is not None
        count = len(held.manifest.sources) + len(held.manifest.tests)
    return {
        "repository": path.parent.name if path.name == "repo" else path.name,
        "files": count,
        "source_megabytes": round(size / 1e6, 1),
        "T_seconds": round(unit, 3),
        "cold_T": round(cold / unit, 2),
        "update_T": round(update / unit, 3),
        "query_ms_p50": _at(spent, 0.5),
        "query_ms_p95": _at(spent, 0.95),
        "blast_ms_first": round(breaks[0], 1),
        "blast_ms_p50": _at(breaks[1:], 0.5),
        "blast_ms_p95": _at(breaks[1:], 0.95),
        "store_per_source": round(kept / size, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repositories", nargs="+", type=Path)
    for path in parser.parse_args().repositories:
        print(json.dumps(measured(path)), flush=True)


if __name__ == "__main__":
    main()
