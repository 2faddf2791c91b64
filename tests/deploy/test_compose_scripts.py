"""The scripts of the compose jobs, run for real against the server that the cluster will run."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from domain import wire
from tests.deploy import shell
from tests.deploy.shell import SCRIPTS, TEMPORAL, program, run

DYNAMIC_CONFIG = yaml.safe_load((SCRIPTS / "dynamic-config.yaml").read_text())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a dev server that runs with the dynamic configuration that the cluster gets."""
    settings = [f"--dynamic-config-value={key}={json.dumps(DYNAMIC_CONFIG[key][0]['value'])}" for key in DYNAMIC_CONFIG]
    with shell.free_port() as port:
        server = subprocess.Popen(
            [
                TEMPORAL,
                "server",
                "start-dev",
                "--headless",
                "--ip=127.0.0.1",
                f"--port={port}",
                "--log-level=error",
                *settings,
            ],
            cwd=tmp_path_factory.mktemp("cluster"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield f"127.0.0.1:{port}"  # not awaited: waiting for a healthy cluster is the script's own task
        server.terminate()
        server.wait(timeout=20)


def temporal(cluster: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(TEMPORAL), *arguments, "--address", cluster]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_the_namespace_job_registers_what_the_code_uses_and_may_run_again(cluster: str) -> None:
    environment = {"TEMPORAL_ADDRESS": cluster, "TEMPORAL_NAMESPACE": "fettle", "FETTLE_RETENTION": "30d"}
    first = run(SCRIPTS / "create-namespace.sh", environment)
    assert first.returncode == 0, first.stderr
    second = run(SCRIPTS / "create-namespace.sh", environment)
    assert second.returncode == 0, second.stderr
    assert "namespace fettle exists" in second.stdout
    assert "made" not in second.stdout

    expected = dict.fromkeys(wire.KEYWORD_ATTRIBUTES, "Keyword") | dict.fromkeys(wire.BOOL_ATTRIBUTES, "Bool")
    listed = temporal(cluster, "operator", "search-attribute", "list", "--namespace", "fettle").stdout
    rows = (line.split() for line in listed.splitlines() if "Fettle" in line)
    assert dict(rows) == expected


def test_a_search_attribute_of_another_type_is_refused_with_both_types(cluster: str) -> None:
    assert run(SCRIPTS / "create-namespace.sh", {"TEMPORAL_ADDRESS": cluster}).returncode == 0  # the cluster is up
    assert temporal(cluster, "operator", "namespace", "create", "--namespace", "occupied").returncode == 0
    create = ["operator", "search-attribute", "create", "--namespace", "occupied", "--name", wire.SA_KIND]
    deadline = time.monotonic() + 20  # the frontend learns of a new namespace within a few seconds
    while temporal(cluster, *create, "--type", "Int").returncode != 0 and time.monotonic() < deadline:
        pass

    refused = run(SCRIPTS / "create-namespace.sh", {"TEMPORAL_ADDRESS": cluster, "TEMPORAL_NAMESPACE": "occupied"})
    assert refused.returncode == 1
    assert f"{wire.SA_KIND} is Int in namespace occupied and Fettle needs Keyword" in refused.stderr


def test_a_cluster_that_never_comes_ends_the_job_within_its_bound() -> None:
    with shell.free_port() as port:
        answer = run(
            SCRIPTS / "create-namespace.sh",
            {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}", "FETTLE_WAIT_SECONDS": "1"},
        )
    assert answer.returncode == 1
    assert "did not come within 1 s" in answer.stderr


def test_every_dynamic_setting_is_known_to_the_server() -> None:
    """The server ignores a misspelt key without a word, so its name is looked for in the binary."""
    binary = TEMPORAL.read_bytes()
    assert [key for key in DYNAMIC_CONFIG if key.encode() not in binary] == []
    for entries in DYNAMIC_CONFIG.values():
        assert all(entry.keys() <= {"value", "constraints"} for entry in entries)


def test_an_id_that_the_database_cannot_store_is_refused_at_the_start(cluster: str) -> None:
    assert run(SCRIPTS / "create-namespace.sh", {"TEMPORAL_ADDRESS": cluster}).returncode == 0
    start = ["workflow", "start", "--namespace", "fettle", "--task-queue", "none", "--type", "None", "--workflow-id"]
    assert temporal(cluster, *start, "i" * 255).returncode == 0
    refused = temporal(cluster, *start, "i" * 256)
    assert refused.returncode != 0
    assert "256/255" in refused.stderr


def test_the_schema_job_prepares_both_databases_without_the_password_in_an_argument(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    program(
        tmp_path / "bin" / "temporal-sql-tool",
        f'[ "$SQL_PASSWORD" = "correct horse" ] || exit 9\necho "$SQL_DATABASE: $*" >> {tmp_path}/calls',
    )
    environment = {"SQL_PASSWORD_FILE": str(tmp_path / "password"), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    answer = run(SCRIPTS / "setup-schema.sh", environment)
    assert answer.returncode == 0, answer.stderr
    versions = "/etc/temporal/schema/postgresql/v12"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "temporal: create-database",
        "temporal: setup-schema --version 0.0",
        f"temporal: update-schema --schema-dir {versions}/temporal/versioned",
        "temporal_visibility: create-database",
        "temporal_visibility: setup-schema --version 0.0",
        f"temporal_visibility: update-schema --schema-dir {versions}/visibility/versioned",
    ]


def test_a_failing_schema_step_fails_the_job(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    program(tmp_path / "bin" / "temporal-sql-tool", '[ "$1" != setup-schema ]')
    environment = {"SQL_PASSWORD_FILE": str(tmp_path / "password"), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    answer = run(SCRIPTS / "setup-schema.sh", environment)
    assert answer.returncode != 0
    assert "up to date" not in answer.stdout


def test_the_server_starts_with_the_password_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    program(tmp_path / "entrypoint.sh", 'echo "started with $POSTGRES_PWD"')
    script = tmp_path / "start-temporal.sh"
    original = (SCRIPTS / "start-temporal.sh").read_text()
    script.write_text(original.replace("/etc/temporal/entrypoint.sh", str(tmp_path / "entrypoint.sh")))
    assert script.read_text() != original
    assert run(script, {"POSTGRES_PWD_FILE": str(tmp_path / "password")}).stdout == "started with correct horse\n"
