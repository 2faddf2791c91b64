"""A run's directories behind each level, for the attacks."""

from collections.abc import Iterator

import pytest

from tests.sandbox import cells


@pytest.fixture(params=cells.params(walled=False))
def cell(request: pytest.FixtureRequest) -> Iterator[cells.Cell]:
    """Each level, with a worker that is root and one that is not."""
    with cells.cell(*request.param) as made:
        yield made


@pytest.fixture(params=cells.params(walled=True))
def walled(request: pytest.FixtureRequest) -> Iterator[cells.Cell]:
    """Each level that keeps a program from anything; `none` claims nothing of the kind."""
    with cells.cell(*request.param) as made:
        yield made
