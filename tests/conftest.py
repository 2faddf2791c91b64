"""What holds for every test of the house."""

import collections

import hypothesis
import pytest

# A machine with other work takes longer over an example now and then: that is no finding.
hypothesis.settings.register_profile("fettle", deadline=None)
hypothesis.settings.load_profile("fettle")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each reason what was not run: a line per test would bury the failures that follow."""
    reasons = collections.Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        if isinstance(report.longrepr, tuple)
        else str(report.longrepr)
        for report in terminalreporter.getreports("skipped")
    )
    if reasons:
        terminalreporter.section("skipped, by reason")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4} x {reason}")
