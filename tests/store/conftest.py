"""A store on SQLite always, and on a private PostgreSQL cluster where the server's binaries are installed."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from store import database, engine

BACKENDS = ("sqlite", "postgresql")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server on a Unix socket in its own folder; no TCP port is opened."""

    bin: pathlib.Path
    home: pathlib.Path
    user: str | None
    """Who runs the server: it refuses root."""

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.home,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # pg_ctl's child keeps it open
            stderr=subprocess.DEVNULL,
            timeout=50,
        )
        log = self.home / "log"
        assert done.returncode == 0, (
            f"{program} ended with {done.returncode}: {log.read_text() if log.exists() else ''}"
        )

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.home} -c fsync=off"
        self.run("pg_ctl", "-D", f"{self.home}/data", "-l", f"{self.home}/log", "-o", options, "-w", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", f"{self.home}/data", "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://fettle@/{database}?host={self.home}"

    async def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{uuid.uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Remove one of `new_database`: a hundred of them are many files, which a busy disk removes slowly."""
        name = url.split("@/")[1].partition("?")[0]
        await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(host=str(self.home), user="fettle", database="postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _server_binaries() -> pathlib.Path | None:
    found = shutil.which("initdb")
    candidates = [pathlib.Path(found).resolve().parent] if found else []
    candidates += sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wanted = ("initdb", "postgres", "pg_ctl")
    return next((bin for bin in candidates if all((bin / name).exists() for name in wanted)), None)


def _server_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


@pytest.fixture(scope="session")
def new_cluster() -> Iterator[Callable[[], Cluster]]:
    """Start a cluster; every cluster that was started is stopped and removed at the end."""
    bin, user = _server_binaries(), _server_user()
    clusters: list[Cluster] = []

    def start() -> Cluster:
        if bin is None or (os.geteuid() == 0 and user is None):
            pytest.skip("NO PostgreSQL server binaries (initdb, postgres, pg_ctl): the store was NOT tested on it")
        # Not below pytest's own folder: the path of a Unix socket may have 107 bytes, and another user must get in.
        home = pathlib.Path(tempfile.mkdtemp(prefix="fettle-pg-"))
        if user:
            shutil.chown(home, user)
        cluster = Cluster(bin=bin, home=home, user=user)
        clusters.append(cluster)
        cluster.run("initdb", "-D", f"{home}/data", "-U", "fettle", "-A", "trust", "-E", "UTF8", "--no-sync")
        cluster.start()
        return cluster

    yield start
    for cluster in clusters:
        if (cluster.home / "data" / "postmaster.pid").exists():
            cluster.stop()
        shutil.rmtree(cluster.home)


@pytest.fixture(scope="session")
def cluster(new_cluster: Callable[[], Cluster]) -> Cluster:
    return new_cluster()


@pytest_asyncio.fixture(params=BACKENDS)
async def url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[str]:
    """The URL of a database without a single table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/fettle.db"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    made = await cluster.new_database()
    yield made
    await cluster.drop(made)


@pytest_asyncio.fixture
async def store(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[engine.Store]:
    """Its writers wait for each other as long as a slow disk takes: how long a webhook may wait is not the point."""
    monkeypatch.setattr(database, "_WAIT_SECONDS", 50.0)
    opened = await engine.open_store(url)
    yield opened
    await opened.aclose()
