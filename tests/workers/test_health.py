"""Probes of a pod, over real HTTP."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from temporalio import client

from domain import errors
from workers import health, settings


def own_address() -> str:
    """A loopback address that this process alone uses: a free port of a shared one may be taken by the next moment."""
    number = os.getpid()
    return f"127.{1 + (number >> 16) % 254}.{number >> 8 & 255}.{number & 255}:19999"


class Cluster:
    """Stands for the cluster at the far end of a client: it answers, or it does not."""

    def __init__(self) -> None:
        self.up = True
        self.service_client = SimpleNamespace(check_health=self._check)

    async def _check(self, **_: object) -> bool:
        if not self.up:
            raise TimeoutError
        return True


async def test_a_worker_is_alive_while_temporal_is_away_but_not_ready() -> None:
    cluster = Cluster()
    address = own_address()
    async with health.serving(address, cast("client.Client", cluster)), httpx.AsyncClient(trust_env=False) as probe:
        assert (await probe.get(f"http://{address}/readyz")).status_code == 200
        cluster.up = False
        assert (await probe.get(f"http://{address}/readyz")).status_code == 503
        assert (await probe.get(f"http://{address}/healthz")).status_code == 200


async def test_an_address_in_use_is_refused_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(errors.ConfigurationError, match=address):
            async with health.serving(address, cast("client.Client", Cluster())):
                pass


async def test_an_empty_address_listens_nowhere() -> None:
    async with health.serving("", cast("client.Client", Cluster())):
        pass


def test_an_address_without_a_port_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="health_address"):
        settings.load(state_dir=tmp_path, health_address="localhost")
