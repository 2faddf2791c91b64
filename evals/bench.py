"""`python -m evals.bench`: measure the whole installation and print the scoreboard, as a table and as JSON."""

import argparse
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import console

from cli import failures
from evals import cancelling, ground, merging, moving, overhead, parked, resuming, scoreboard, starting, throughput
from workers import connection


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    merged: int
    polled: int
    throughput: int
    parallel: int
    parked: int
    window_seconds: float
    kills: int
    starts: int
    turns: int
    real_turns: int
    cancels: int
    moves: int


FULL: Final = Sizes(
    merged=50,
    polled=50,
    throughput=100,
    parallel=20,
    parked=2000,
    window_seconds=60,
    kills=5,
    starts=10,
    turns=50,
    real_turns=15,
    cancels=100,
    moves=5,
)
QUICK: Final = Sizes(
    merged=1,
    polled=1,
    throughput=4,
    parallel=2,
    parked=20,
    window_seconds=2,
    kills=1,
    starts=2,
    turns=2,
    real_turns=1,
    cancels=2,
    moves=1,
)
"""Shows that everything works; its numbers mean nothing."""

MEASURES: Final[Mapping[str, Callable[[Sizes], Awaitable[list[scoreboard.Row]]]]] = {
    "help": lambda sizes: starting.measure(sizes.starts),
    "turn-overhead": lambda sizes: overhead.measure(sizes.turns, sizes.real_turns),
    "merge": lambda sizes: merging.with_webhooks(sizes.merged),
    "merge-polled": lambda sizes: merging.without_webhooks(sizes.polled),
    "throughput": lambda sizes: throughput.measure(sizes.throughput, sizes.parallel),
    "resume": lambda sizes: resuming.measure(sizes.kills),
    "move": lambda sizes: moving.measure(sizes.moves),
    "cancel": lambda sizes: cancelling.measure(sizes.cancels),
    "parked": lambda sizes: parked.measure(sizes.parked, sizes.window_seconds),
}
"""In the order in which they run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; the exit code is 0 also when a goal was missed, since a number is not a failure."""
    options = _parse(arguments)
    shown = shlex.join(["python", "-m", "evals.bench", *(sys.argv[1:] if arguments is None else arguments)])

    def measured() -> None:
        board = scoreboard.Board(command=shown)
        sizes = QUICK if options.quick else FULL
        for name in options.only or MEASURES:
            ground.progress(f"measuring {name}")
            board.rows += connection.run(_awaited(MEASURES[name](sizes)))
        board.show(console.Console(file=sys.stderr if options.json else sys.stdout, width=_width()))
        sys.stdout.write(board.as_json() + "\n")

    return failures.boundary(measured, ["bench"])


async def _awaited(work: Awaitable[list[scoreboard.Row]]) -> list[scoreboard.Row]:
    return await work


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evals.bench", description="Measure Fettle against its goals.")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, the table on stderr")
    parser.add_argument(
        "--only", action="append", choices=list(MEASURES), metavar="NAME", help=f"one of {', '.join(MEASURES)}; repeat"
    )
    parser.add_argument("--quick", action="store_true", help="tiny numbers: shows that everything works, in a minute")
    return parser.parse_args(arguments)


def _width() -> int:
    """Wide enough that a log file keeps a measure on one line."""
    found = console.Console().width
    return found if sys.stdout.isatty() else max(found, 160)


if __name__ == "__main__":
    sys.exit(main())
