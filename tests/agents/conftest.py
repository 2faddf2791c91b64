from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents import clis
from tests.agents.stage import Stage, standing


@pytest.fixture(params=clis.CLAUDES, ids=str)
async def claude(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with standing(request.param, tmp_path) as stage:
        yield stage


@pytest.fixture
async def codex(tmp_path: Path) -> AsyncIterator[Stage]:
    async with standing(clis.CODEX, tmp_path) as stage:
        yield stage


@pytest.fixture(params=[*clis.CLAUDES, clis.CODEX], ids=str)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with standing(request.param, tmp_path) as stage:
        yield stage
