"""docker-compose.yml: every reference resolves, every wait can end, and nothing is open or unpinned."""

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from store import database
from tests.deploy import compose_rules
from workers import settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
FETTLE = Path(sys.executable).parent / "fettle"


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return copy.deepcopy(loaded)


def example_settings() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_the_compose_file_keeps_every_rule(document: dict[str, Any]) -> None:
    assert compose_rules.faults(document, ROOT) == []


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        target = document["services"]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        target = document["services"]
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return change


HEALTHY = {"condition": "service_healthy"}
COMPLETED = {"condition": "service_completed_successfully"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_set("temporal", "image", to="temporalio/server:latest"), "not pinned"),
        (_set("temporal", "image", to="temporalio/server"), "not pinned"),
        (_set("temporal-ui", "ports", to=["8233:8080"]), "beyond the loopback"),
        (_set("temporal-ui", "prots", to=[]), "unknown key prots"),
        (_set("temporal-ui", "depends_on", "redis", to=HEALTHY), "redis, which does not exist"),
        (_set("temporal-ui", "depends_on", "fettle-migrate", to=HEALTHY), "no healthcheck"),
        (_set("temporal-ui", "depends_on", "temporal", to=COMPLETED), "restarts for ever"),
        (_set("temporal-ui", "depends_on", "temporal-namespace", to={"condition": "service_started"}), "one-shot"),
        (_set("postgres", "depends_on", to={"fettle-migrate": COMPLETED}), "in a circle"),
        (_drop("temporal", "healthcheck"), "no healthcheck"),
        (_set("temporal", "healthcheck", "test", to="nc -z"), "not a list"),
        (_set("temporal", "volumes", to=["./deploy/compose/gone.sh:/gone.sh:ro"]), "not a file of the repository"),
        (_set("fettle-control", "volumes", to=["elsewhere:/data"]), "elsewhere, which is not declared"),
        (_set("fettle-control", "secrets", to=["unknown"]), "unknown is not declared"),
        (_set("postgres", "environment", "POSTGRES_PASSWORD", to="hunter2"), "carries a secret"),
        (_set("temporal", "environment", "DB_PORT", to=5432), "quote it"),
        (_drop("temporal-ui", "restart"), "says nothing about restart"),
    ],
)
def test_a_broken_compose_file_is_told_what_is_wrong(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None], fault: str
) -> None:
    change(document)
    assert any(fault in found for found in compose_rules.faults(document, ROOT))


def test_every_variable_is_explained_in_the_example_settings(document: dict[str, Any]) -> None:
    settings = example_settings()
    used = {match["name"] for match in compose_rules.VARIABLE.finditer(TEXT)}
    used |= {secret["environment"] for secret in document["secrets"].values()}
    assert used == set(settings)


def test_defaults_in_the_compose_file_and_the_example_agree() -> None:
    settings = example_settings()
    defaults = {m["name"]: m["rest"] for m in compose_rules.VARIABLE.finditer(TEXT) if m["sign"] == "-"}
    assert defaults == {name: settings[name] for name in defaults}


def test_the_example_settings_hold_no_secret(document: dict[str, Any]) -> None:
    settings = example_settings()
    assert {settings[secret["environment"]] for secret in document["secrets"].values()} == {""}


def test_every_worker_waits_for_the_schema_and_the_namespace(document: dict[str, Any]) -> None:
    for name in ("fettle-control", "fettle-agents", "fettle-web"):
        needs = document["services"][name]["depends_on"]
        assert {"fettle-migrate": COMPLETED, "temporal-namespace": COMPLETED}.items() <= needs.items()


def test_all_temporal_images_are_of_the_release_that_was_tested(document: dict[str, Any]) -> None:
    """The dev server of the tests and the cluster run the same server: what was proven here holds there."""
    report = subprocess.run(
        [FETTLE.parent / "temporal", "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"Server (\S+), UI (\S+)\)", report)
    assert match is not None, report
    services = document["services"]
    assert services["temporal"]["image"] == f"temporalio/server:{match[1]}"
    assert services["temporal-schema"]["image"] == f"temporalio/admin-tools:{match[1]}"
    assert services["temporal-namespace"]["image"] == f"temporalio/admin-tools:{match[1]}"
    assert services["temporal-ui"]["image"] == f"temporalio/ui:{match[2]}"


def test_the_store_url_is_one_the_store_accepts_and_holds_no_password(document: dict[str, Any]) -> None:
    url = database.parse(document["services"]["fettle-control"]["environment"]["FETTLE_STORE_URL"])
    assert (url.get_backend_name(), url.host, url.username, url.database) == (
        "postgresql",
        "postgres",
        "fettle",
        "fettle",
    )
    assert url.password is None


def test_the_settings_of_each_fettle_service_are_ones_the_settings_accept(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container with a variable that nobody reads would refuse to start."""
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    for name, service in document["services"].items():
        if not name.startswith("fettle-"):
            continue
        with monkeypatch.context() as environment:
            for key, value in service["environment"].items():
                if key.startswith("FETTLE_"):
                    shown = str(secret) if str(value).startswith("/run/secrets/") else str(value)
                    environment.setenv(key, re.sub(r"\$\{[^}]*\}", "http://forge.test", shown))
            assert settings.load(state_dir=tmp_path).forge.api_url == "http://forge.test", name


FETTLE_COMMANDS = [
    service["command"] for name, service in yaml.safe_load(TEXT)["services"].items() if name.startswith("fettle-")
]


@pytest.mark.parametrize("command", FETTLE_COMMANDS, ids=" ".join)
def test_the_command_of_each_fettle_service_exists(command: list[str]) -> None:
    answer = subprocess.run([FETTLE, *command, "--help"], capture_output=True, text=True, timeout=30)
    assert answer.returncode == 0, answer.stderr
    assert " ".join(command) in answer.stdout


def test_only_the_agents_service_lifts_the_engines_own_protection(document: dict[str, Any]) -> None:
    """The sandbox of each agent needs namespaces; whoever makes them has no capability and cannot get one."""
    for name, service in document["services"].items():
        options = service.get("security_opt", [])
        lifted = [option for option in options if "unconfined" in option]
        assert bool(lifted) == (name == "fettle-agents"), name
        assert "privileged" not in service, name
        if name.startswith("fettle-"):
            assert [option for option in options if option not in lifted] == ["no-new-privileges:true"], name
            assert service["cap_drop"] == ["ALL"], name
