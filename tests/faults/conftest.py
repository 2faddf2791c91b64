"""One installation for all tests of this folder; a test that stops it leaves it stopped, the next one starts it."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from tests.e2e.stack import Stack

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("faults") / "state")
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def stack(installation: Stack) -> AsyncIterator[Stack]:
    """The installation, running, without faults, and working on nothing from earlier tests."""
    if not installation.running:
        await installation.start()
    yield installation
    if installation.running:
        await installation.people.heal()
        await installation.forget()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Names of repositories that no other test has."""
    return lambda stem: f"{stem}{next(_numbers)}"
