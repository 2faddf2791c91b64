"""What holds for every test of the house."""

import collections
import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

# A machine with other work takes longer over an example now and then: that is no finding.
hypothesis.settings.register_profile("fettle", deadline=None)
hypothesis.settings.load_profile("fettle")


_OURS = ("FETTLE_AGENT_CLIS", "FETTLE_GITHUB_", "FETTLE_TEMPORAL_CLI", "FETTLE_TEST_")
"""Variables that tell the tests what to use."""
_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
"""What git tells its hooks and `git rebase --exec`: a git of the tests would work on that repository."""


@pytest.fixture(scope="session", autouse=True)
def nobodys_environment() -> Iterator[None]:
    """Whoever runs the tests may have an installation of their own, and settings for it; a shell that runs them in the
    background has them ignore Ctrl-C, and so all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    foreign = [
        name
        for name in os.environ
        if (name.startswith(("FETTLE_", "TEMPORAL_")) and not name.startswith(_OURS)) or name in _REPOSITORY
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign:
            patch.delenv(name)
        patch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)
        yield


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
