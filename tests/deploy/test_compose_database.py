"""create-roles.sh on a real PostgreSQL of this machine: who may log in, and what each may do."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import shell


def postgres_binaries() -> Path | None:
    """Where initdb and its siblings lie: Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


PASSWORDS = {"temporal_db_password": "it's \"quoted\" \\ $(id) :'x'", "fettle_db_password": "plain-enough"}


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, str]]:
    """Environment of a client whose server was made ready by create-roles.sh."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server binaries on this machine: apt install postgresql")
    # initdb refuses root; a socket's path must be short, so the directory is not pytest's.
    account = "nobody" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="fettle-pg-"))
    for name, password in PASSWORDS.items():
        (home / name).write_text(password + "\n")
    if account:
        shutil.chown(home, account)
    subprocess.run(
        [
            str(binaries / "initdb"),
            *["--no-sync", "--locale=C", "--encoding=UTF8", "--username=postgres", "--pgdata=data"],
            *["--auth-local=trust", "--auth-host=scram-sha-256"],
        ],
        cwd=home,
        user=account,
        check=True,
        capture_output=True,
    )
    with shell.free_port() as port, (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", "data", "-k", home, "-p", str(port), "-c", "fsync=off", "-h", "127.0.0.1"],
            cwd=home,
            user=account,
            stdout=log,
            stderr=log,
        )
        environment = {"PATH": f"{binaries}:/usr/bin:/bin", "PGPORT": str(port), "SECRETS_DIR": str(home)}
        try:
            _await_ready(environment | {"PGHOST": str(home)}, server)
            made = shell.run(shell.SCRIPTS / "create-roles.sh", environment | {"PGHOST": str(home)})
            assert made.returncode == 0, made.stderr
            yield environment | {"PGHOST": "127.0.0.1"}
        finally:
            server.terminate()
            server.wait(timeout=20)
            shutil.rmtree(home)


def _await_ready(environment: dict[str, str], server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run(["pg_isready", "-q"], env=environment).returncode != 0:
        assert server.poll() is None, "the database server ended"
        assert time.monotonic() < deadline, "the database server did not come up within 30 s"
        time.sleep(0.05)  # pg_isready has no waiting mode


def psql(environment: dict[str, str], user: str, secret: str, name: str, sql: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["psql", "-X", "-A", "-t", "-w", "-U", user, "-d", name, "-c", sql],
        env=environment | {"PGPASSWORD": PASSWORDS[secret]},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_each_role_logs_in_with_the_password_of_its_file(database: dict[str, str]) -> None:
    for user, secret, name in (
        ("temporal", "temporal_db_password", "postgres"),
        ("fettle", "fettle_db_password", "fettle"),
    ):
        answer = psql(database, user, secret, name, "SELECT current_user")
        assert answer.stdout.strip() == user, answer.stderr


def test_temporal_makes_its_databases_and_fettle_may_not(database: dict[str, str]) -> None:
    made = psql(database, "temporal", "temporal_db_password", "postgres", "CREATE DATABASE temporal_visibility")
    assert made.returncode == 0, made.stderr
    indexed = psql(database, "temporal", "temporal_db_password", "temporal_visibility", "CREATE EXTENSION btree_gin")
    assert indexed.returncode == 0 or "is not available" in indexed.stderr, indexed.stderr
    refused = psql(database, "fettle", "fettle_db_password", "fettle", "CREATE DATABASE other")
    assert "permission denied" in refused.stderr


def test_fettle_migrates_its_own_database_and_temporal_cannot_enter_it(database: dict[str, str]) -> None:
    made = psql(database, "fettle", "fettle_db_password", "fettle", "CREATE TABLE ledger (id int)")
    assert made.returncode == 0, made.stderr
    refused = psql(database, "temporal", "temporal_db_password", "fettle", "SELECT 1")
    assert "permission denied for database" in refused.stderr
