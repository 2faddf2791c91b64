"""One dev server and one installation for all tests of a session; every test has a repository of its own."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.workflows import installation
from tests.workflows.installation import Installation
from tests.workflows.world import World


@pytest.fixture(scope="session")
async def fettle() -> AsyncIterator[Installation]:
    async with (
        await WorkflowEnvironment.start_local(**installation.server()) as env,
        installation.installed(await installation.connect(env)) as running,
    ):
        yield running


@pytest.fixture
def world(fettle: Installation) -> World:
    return fettle.world()
