"""The vendor's own material, where the operator has it; a test that needs it says which variable was not set."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.contract import openapi


def _file(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: point it to {what} to check against GitHub's own material")
    path = Path(value)
    assert path.is_file(), f"{variable} names {path}, which is no file: point it to {what}"
    return path


@pytest.fixture(scope="session")
def github_description() -> openapi.Description:
    path = _file("FETTLE_GITHUB_OPENAPI", "api.github.com.json of the npm package @octokit/openapi")
    return openapi.Description.load(path)


@pytest.fixture(scope="session")
def github_deliveries() -> list[dict[str, Any]]:
    what = "api.github.com/index.json of the npm package @octokit/webhooks-examples"
    loaded: list[dict[str, Any]] = json.loads(_file("FETTLE_GITHUB_WEBHOOKS", what).read_text())
    return loaded
