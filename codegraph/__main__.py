"""`python -m codegraph`: one question to the graph of a repository; the text comes on standard input, JSON leaves.

    locate, map          a text
    conflict             a JSON list of texts; the first is compared with each of the others, and with the work on
                         each --branch since it left --rev
    frames               a stack trace, as JSON
    blast                nothing with --base and --head, else a unified diff against --rev
    stats                nothing

Prints one JSON object. Exit codes: 0 answered, 1 it could not be answered and `error` says why, 2 usage.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from codegraph import answers, changes, graph, objects, patch, pool

_MOST: Final = 20_000_000
"""Bytes of standard input that are read."""


class _Refused(Exception):
    """What came on standard input is not what the command reads."""


def _stats(held: graph.Graph, _: argparse.Namespace) -> answers.Value:
    return answers.stats(held)


def _locate(held: graph.Graph, given: argparse.Namespace) -> answers.Value:
    return answers.locate(held, _text(), given.most)


def _map(held: graph.Graph, given: argparse.Namespace) -> answers.Value:
    return answers.mapped(held, _text(), given.budget)


def _blast(held: graph.Graph, given: argparse.Namespace) -> answers.Value:
    if given.base:
        found = changes.between(held.repository, given.base, given.head, held.revision)
    else:
        found = patch.read(_input(), held.revision)
    return answers.radius(held, found, given.most)


def _frames(held: graph.Graph, given: argparse.Namespace) -> answers.Value:
    return answers.traced(held, _json(), given.name)


def _conflict(held: graph.Graph, given: argparse.Namespace) -> answers.Value:
    texts = _json()
    fewest = 1 if given.branch else 2
    if not isinstance(texts, list) or len(texts) < fewest or not all(isinstance(each, str) for each in texts):
        least = "one text or more" if given.branch else "two or more texts"
        raise _Refused(f"conflict reads a JSON list of {least}, something else came: send such a list")
    found = answers.clashes(held, texts)
    return {**found, **answers.under_way(held, texts[0], given.branch)} if given.branch else found


COMMANDS: Final[dict[str, Callable[[graph.Graph, argparse.Namespace], answers.Value]]] = {
    "stats": _stats,
    "locate": _locate,
    "map": _map,
    "blast": _blast,
    "frames": _frames,
    "conflict": _conflict,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one command line; gives the exit code."""
    given = _parser().parse_args(arguments)
    code, answer = 0, {}
    try:
        held = graph.Graph.open(given.repo, folder=given.store, workers=given.workers)
        held.at(given.base or given.rev)
        answer = COMMANDS[given.command](held, given)
    except (objects.Error, pool.Error, _Refused) as error:
        code, answer = 1, {"error": str(error), "kind": type(error).__name__.lstrip("_")}
    except KeyboardInterrupt:
        code, answer = 130, {"error": "interrupted: what was read so far is kept, so ask again", "kind": "Interrupted"}
    sys.stdout.write(json.dumps(answer) + "\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m codegraph", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--repo", type=pathlib.Path, default=pathlib.Path(), help="a repository, bare or not")
    parser.add_argument("--rev", default="HEAD", help="the commit that is asked")
    parser.add_argument("--store", type=pathlib.Path, help="folder of the store; default: inside the git directory")
    parser.add_argument("--workers", type=_count(0, 64), default=2, help="processes that read files")
    parser.add_argument("--most", type=_count(1, 1000), default=30, help="locate, blast: files at most")
    parser.add_argument("--budget", type=_count(1, 1_000_000), default=2000, help="map: tokens at most")
    parser.add_argument("--base", default="", help="blast: the commit before the change; it is asked instead of --rev")
    parser.add_argument("--head", default="HEAD", help="blast: the commit with the change")
    parser.add_argument("--branch", action="append", default=[], help="conflict: running work; repeat it")
    parser.add_argument("--name", action="append", default=[], help="frames: owner/name of the repository; repeat it")
    return parser


def _count(least: int, most: int) -> Callable[[str], int]:
    """Reads a number of an option."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}: give one of these")
        return number

    return read


def _input() -> bytes:
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise _Refused(f"more than {_MOST} bytes came on standard input: send less")
    return data


def _text() -> str:
    return _input().decode("utf-8", "replace")


def _json() -> Any:
    try:
        return json.loads(_input())
    except (ValueError, RecursionError) as error:
        raise _Refused(f"what came on standard input is no JSON ({error}): send JSON in UTF-8") from None


if __name__ == "__main__":
    sys.exit(main())
