"""`fettle graph`: questions about the code of a repository, answered from its git objects alone."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options

Repo = Annotated[Path, typer.Option("--repo", help="A repository, bare or not, or a folder in it.")]
Repos = Annotated[
    list[Path] | None, typer.Option("--repo", help="A repository, bare or not; repeat it with --batch. Default: .")
]
Rev = Annotated[str, typer.Option("--rev", help="The commit that is asked: any name that git knows.")]
Store = Annotated[Path | None, typer.Option("--store", help="Folder of the store. Default: inside the git directory.")]
Most = Annotated[int, typer.Option("--most", min=1, max=1000, help="Files at most.")]
Batch = Annotated[
    Path | None, typer.Option("--batch", help="Answer the questions of this file, one JSON object a line; with --out.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Where the answers of --batch go.")]
Mirror = Annotated[
    Path | None, typer.Option("--mirror", help="With --batch: a folder of repositories as owner+name/repo.")
]
Cases = Annotated[Path | None, typer.Option("--cases", help="With --batch: the cases that its ids name.")]
_TEXT = "The text, @FILE to read it from a file, or - for standard input."
Asked = Annotated[str, typer.Argument(metavar="TEXT", help=_TEXT, show_default=False)]
MaybeAsked = Annotated[str, typer.Argument(metavar="TEXT", help=f"{_TEXT} Not with --batch.", show_default=False)]


def index(repo: Repo = Path(), rev: Rev = "HEAD", store: Store = None, as_json: options.Json = False) -> None:
    """Read what nobody has read yet; every other command does so too."""
    from cli import graphs

    graphs.index(graphs.Place(repo, rev, store), as_json=as_json)


def stats(repo: Repo = Path(), rev: Rev = "HEAD", store: Store = None, as_json: options.Json = False) -> None:
    """Count what a revision holds."""
    from cli import graphs

    graphs.stats(graphs.Place(repo, rev, store), as_json=as_json)


def locate(
    text: MaybeAsked = "",
    repo: Repos = None,
    rev: Rev = "HEAD",
    most: Most = 10,
    batch: Batch = None,
    out: Out = None,
    mirror: Mirror = None,
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Rank files and definitions for a text."""
    from cli import graph_batch, graphs

    if graph_batch.wanted(batch, out, mirror, None, [text]):
        graph_batch.run("locate", graph_batch.Files(batch, out, None), repo, mirror, store, as_json=as_json)
    else:
        graphs.locate(graphs.Place.only(repo, rev, store), text, most, as_json=as_json)


def blast(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="WHAT", help="BASE..HEAD, or paths of changed files.", show_default=False),
    ] = None,
    base: Annotated[str, typer.Option(help="The commit before the change.")] = "",
    head: Annotated[str, typer.Option(help="The commit with the change. Default: HEAD.")] = "",
    diff: Annotated[str, typer.Option(metavar="FILE", help="A unified diff against --rev; - for stdin.")] = "",
    repo: Repos = None,
    rev: Rev = "HEAD",
    most: Most = 40,
    batch: Batch = None,
    cases: Cases = None,
    out: Out = None,
    mirror: Mirror = None,
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Rank what a change bears on."""
    from cli import graph_batch, graphs

    if graph_batch.wanted(batch, out, mirror, cases, [*(what or ()), base, head, diff]):
        graph_batch.run("blast", graph_batch.Files(batch, out, cases), repo, mirror, store, as_json=as_json)
    else:
        work = graphs.Work(tuple(what or ()), base, head, diff)
        graphs.blast(graphs.Place.only(repo, rev, store), work, most, as_json=as_json)


def frames(
    trace: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A stack trace or event as JSON, or - for stdin.", show_default=False),
    ] = "",
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="OWNER/NAME", help="The repository's name: its installed copies are known; repeat it."),
    ] = None,
    repo: Repos = None,
    rev: Rev = "HEAD",
    batch: Batch = None,
    out: Out = None,
    mirror: Mirror = None,
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Place the frames of a stack trace."""
    from cli import graph_batch, graphs

    if graph_batch.wanted(batch, out, mirror, None, [trace]):
        graph_batch.run("frames", graph_batch.Files(batch, out, None), repo, mirror, store, as_json=as_json)
    else:
        graphs.frames(graphs.Place.only(repo, rev, store), trace, name or (), as_json=as_json)


def conflict(
    one: MaybeAsked = "",
    other: MaybeAsked = "",
    branch: Annotated[
        list[str] | None,
        typer.Option(help="Compare one text with the work on this branch instead; repeat it.", show_default=False),
    ] = None,
    repo: Repos = None,
    rev: Rev = "HEAD",
    batch: Batch = None,
    cases: Cases = None,
    out: Out = None,
    mirror: Mirror = None,
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Compare where two texts will change the code, or a text and running branches."""
    from cli import graph_batch, graphs

    if graph_batch.wanted(batch, out, mirror, cases, [one, other]):
        graph_batch.run("conflict", graph_batch.Files(batch, out, cases), repo, mirror, store, as_json=as_json)
    elif branch:
        graphs.under_way(graphs.Place.only(repo, rev, store), graphs.with_branches(one, other), branch, as_json=as_json)
    else:
        graphs.conflict(graphs.Place.only(repo, rev, store), one, other, as_json=as_json)


def draw(
    text: Asked,
    budget: Annotated[int, typer.Option(min=1, max=1_000_000, help="Tokens at most.")] = 2000,
    repo: Repo = Path(),
    rev: Rev = "HEAD",
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Draw a map for a text."""
    from cli import graphs

    graphs.draw(graphs.Place(repo, rev, store), text, budget, as_json=as_json)


def explain(
    text: Asked,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, from the root of the repository.")],
    repo: Repo = Path(),
    rev: Rev = "HEAD",
    store: Store = None,
    as_json: options.Json = False,
) -> None:
    """Say why a file is where it is."""
    from cli import graphs

    graphs.explain(graphs.Place(repo, rev, store), text, path, as_json=as_json)
