"""What an installation that one command starts for itself takes from the environment it is started in."""

import os

import pytest

from cli import background


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "FETTLE_CLAUDE_CREDENTIALS_FILE",
        "FETTLE_CLAUDE_SANDBOXED",
        "FETTLE_SANDBOX",
        "FETTLE_SANDBOX_READ_ONLY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ],
)
def test_what_an_agent_needs_of_this_machine_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "of this machine")
    assert background.clean_environment({})[name] == "of this machine"


@pytest.mark.parametrize("name", ["FETTLE_STATE_DIR", "FETTLE_FORGE_TOKEN_FILE", "TEMPORAL_ADDRESS"])
def test_what_belongs_to_another_installation_is_dropped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "of another installation")
    assert name not in background.clean_environment({})


def test_what_the_command_sets_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_CLAUDE_SANDBOXED", "true")
    made = background.clean_environment({"FETTLE_CLAUDE_SANDBOXED": "false"})
    assert (made["FETTLE_CLAUDE_SANDBOXED"], made["TEMPORAL_CONFIG_FILE"]) == ("false", os.devnull)
