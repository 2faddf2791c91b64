from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents.slow import stage as stages


@pytest.fixture(params=stages.ALL, ids=str)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[stages.SlowStage]:
    async with stages.standing(request.param, tmp_path) as stage:
        yield stage
