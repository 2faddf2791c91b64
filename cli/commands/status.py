"""`fettle status`: everything about one run, open or ended."""

from cli import options


def status(run: options.Run, as_json: options.Json = False) -> None:
    """Print phases with times, pull request, CI, review, approvals, cost, the agent's last lines and links."""
    from cli import report, session

    session.call(lambda client: report.status(client, run, as_json=as_json))
