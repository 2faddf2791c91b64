"""The way out of an agent's sandbox: one proxy a turn, with the model's key, an allow-list and its evidence.

It lives in the worker: when the worker dies, so does every connection of its agents.
"""

import dataclasses
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from activities import artifact_store
from domain import artifacts, errors, redaction
from integrations.agent import port
from sandbox import bridge
from sandbox.egress import addresses, evidence, gateway, proxy, rules

MOUNT: Final = "/model"
_PROXY_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_DIRECT_VARIABLES: Final = ("NO_PROXY", "no_proxy")
_DIRECT: Final = "127.0.0.1,localhost,::1"
"""An agent's own servers, and the model's address."""
_WITHHELD: Final = frozenset({*_PROXY_VARIABLES, *_DIRECT_VARIABLES, "ALL_PROXY", "all_proxy"})
_LOGIN_HOSTS: Final[Mapping[str, tuple[str, ...]]] = {
    "claude": ("api.anthropic.com", "console.anthropic.com", "platform.claude.com")
}
"""Where a CLI that holds a login of its own has to go, to its model and to renew the login, by backend."""
_ADDRESS_NAME: Final = re.compile(r"BASE_URL$")
_SECRET_NAME: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$")


@dataclass
class Way:
    """One sandbox's way out while it is open."""

    socket: Path | None
    """The proxy's socket, for a sandbox without a network (`Spec.network`). None: it listens on the host's loopback."""
    access: port.ModelAccess | None
    """For `AgentBackend.command`: the key stays here. None: the backend has no key that could."""
    variables: Mapping[str, str] = field(repr=False)
    """What the process has to be told beside its command's own variables."""
    withheld: frozenset[str]
    """Names that must not be passed on from the host."""
    totals: evidence.Totals
    evidence: artifacts.ArtifactRef | None = None
    """Set when the way has closed; None when nothing was ever asked for."""

    def of_command(self, command: port.Command) -> port.Command:
        """The command with the way's variables."""
        return dataclasses.replace(command, env={**command.env, **self.variables})

    def passed(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names of the host's variables that may still be passed on."""
        return tuple(name for name in names if name not in self.withheld)


@dataclass(frozen=True)
class Egress:
    """What the sandboxes of this host may reach.

    Args:
        named: Lists of hosts by the name that a repository may wish for, such as `python`; all are part of `rules`.
        environment: The worker's; model keys are read from it.
    """

    rules: rules.Rules
    artifacts: artifact_store.ArtifactStore
    redactor: redaction.Redactor
    environment: Mapping[str, str] = field(repr=False)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolve: addresses.Resolve = addresses.system_resolve

    @asynccontextmanager
    async def opened(
        self,
        run: str,
        name: str,
        room: Path,
        *,
        isolated: bool,
        backend: port.AgentBackend | None = None,
        holds_key: bool = False,
        wished: Iterable[str] | None = None,
    ) -> AsyncIterator[Way]:
        """Open a way out for one process tree.

        Args:
            name: Of the process within the run, such as `turn-3`, at most 60 characters; the evidence is kept as
                `egress-<name>.jsonl`.
            room: The run's own directory on this host, outside of what the process may write.
            isolated: The sandbox has a network of its own, so that only the socket leads out of it. Otherwise the proxy
                listens on the host's loopback with a password.
            backend: Whose model is to be reached. None: none.
            holds_key: The process gets the key all the same: it has no tools that could do anything with it.
            wished: Hosts and names of lists, out of those allowed; None: all of them.

        Raises:
            ConfigurationError: a wish is no host, or the model's address is none.
        """
        log = _Log(self.artifacts, artifact_store.run_key(run, f"egress-{name}.jsonl"), self.redactor)
        journal = evidence.Journal(log.write)
        password = "" if isolated else secrets.token_urlsafe(24)
        decided = self.rules.narrowed(None if wished is None else self._expanded(wished))
        api = None if holds_key else self._model_api(backend)
        if api is None and backend is not None:
            decided = decided.with_hosts(self._own_hosts(backend))
        served = proxy.Proxy(decided, journal, (api,) if api else (), password=password, resolve=self.resolve)
        way: Way | None = None
        try:
            async with AsyncExitStack() as stack:
                socket = room / "egress" / f"{name}.sock" if isolated else None
                if socket:
                    await stack.enter_async_context(served.on_socket(socket, number := bridge.PORT))
                else:
                    number = await stack.enter_async_context(served.on_loopback())
                way = _way(socket, number, password, api, backend, journal)
                yield way
        finally:
            kept = await log.close()
            if way is not None:
                way.evidence = kept

    def _expanded(self, wished: Iterable[str]) -> Iterable[str]:
        for each in wished:
            yield from self.named.get(each, (each,))

    def _model_api(self, backend: port.AgentBackend | None) -> gateway.ModelApi | None:
        """What the proxy needs to hold the backend's key; None when there is no key, or it cannot be held."""
        known = backend.model_api if backend else None
        if backend is None or known is None:
            return None
        secret = next((self.environment[name] for name in known.key_variables if self.environment.get(name)), "")
        if not secret:
            return None
        upstream = self._address(backend) or known.base_url
        if urlsplit(upstream).scheme not in ("http", "https") or not urlsplit(upstream).hostname:
            raise errors.ConfigurationError(
                f"the model of {backend.name} is at '{upstream}', which is no http or https address: correct the "
                "setting or the variable that names it"
            )
        return gateway.ModelApi(
            mount=MOUNT,
            upstream=upstream,
            header=known.header.lower(),
            prefix=known.prefix,
            secret=secret,
            placeholder=f"held-by-the-proxy-{secrets.token_hex(16)}",
        )

    def _address(self, backend: port.AgentBackend) -> str:
        """The operator's own model address, such as a company's gateway: its key must go nowhere else. Empty: none."""
        given = (self.environment.get(name, "") for name in backend.pass_environment if _ADDRESS_NAME.search(name))
        return next((address for address in given if address), "")

    def _own_hosts(self, backend: port.AgentBackend) -> list[str]:
        """Where a backend goes that holds its key or its login."""
        address = self._address(backend) or (backend.model_api.base_url if backend.model_api else "")
        parts = urlsplit(address)
        model = [f"{parts.hostname}:{parts.port or rules.HTTPS}"] if parts.scheme == "https" else []
        return [*model, *_LOGIN_HOSTS.get(backend.name, ())]


class _Log:
    """The evidence's artifact, begun with its first line: most verifications ask for nothing."""

    def __init__(self, store: artifact_store.ArtifactStore, key: str, redactor: redaction.Redactor) -> None:
        self._store = store
        self._key = key
        self._redactor = redactor
        self._stream: artifact_store.ArtifactStream | None = None

    def write(self, line: bytes) -> None:
        if self._stream is None:
            self._stream = self._store.append_to(self._key)
        self._stream.write(self._redactor.redact(line.decode()).encode())

    async def close(self) -> artifacts.ArtifactRef | None:
        return await self._stream.close("connections out of the sandbox") if self._stream else None


def _way(
    socket: Path | None,
    number: int,
    password: str,
    api: gateway.ModelApi | None,
    backend: port.AgentBackend | None,
    journal: evidence.Journal,
) -> Way:
    place = f"127.0.0.1:{number}"
    through = f"http://{f'{proxy.USER}:{password}@' if password else ''}{place}"
    # A CLI may know several variables for its key: with a placeholder in one of them it needs none of the others.
    keys = [name for name in backend.pass_environment if _SECRET_NAME.search(name)] if api and backend else []
    return Way(
        socket=socket,
        access=port.ModelAccess(f"http://{place}{MOUNT}", api.placeholder) if api else None,
        variables={
            **dict.fromkeys(_PROXY_VARIABLES, through),
            **dict.fromkeys(_DIRECT_VARIABLES, _DIRECT),
            "NODE_USE_ENV_PROXY": "1",  # Node minds the variables above only then
        },
        withheld=_WITHHELD.union(
            keys, backend.model_api.key_variables if api and backend and backend.model_api else ()
        ),
        totals=journal.totals,
    )
