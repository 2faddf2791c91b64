"""`fettle explain`: what one run waits for, and what would end it."""

from cli import options


def explain(run: options.Run, as_json: options.Json = False) -> None:
    """Print the wait, whose move it is, since when, until when, and the next command."""
    from cli import report, session

    session.call(lambda client: report.explanation(client, run, as_json=as_json))
