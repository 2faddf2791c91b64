"""The rules a compose file must keep here: the specification's shape, and what Fettle asks of a deployment.

They stand in for `docker compose config` where no container engine is installed, and go further: an engine accepts
an unpinned image or a wait for a service that never reports healthy.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVICE_KEYS = frozenset(
    {"build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "hostname", "image"}
    | {"ports", "restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "ulimits", "volumes"}
)
"""The service keys in use. A new one is looked up in the compose specification, then added here."""

TOP_KEYS = frozenset({"name", "services", "volumes", "secrets"})
HEALTH_KEYS = frozenset({"test", "interval", "timeout", "start_period", "retries", "disable"})
CONDITIONS = frozenset({"service_started", "service_healthy", "service_completed_successfully"})
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::?(?P<sign>[-?])(?P<rest>[^}]*))?\}")
SENSITIVE = re.compile(r"PASSWORD|PASSWD|_PWD|TOKEN|SECRET|_KEY$")


def faults(document: dict[str, Any], root: Path) -> list[str]:
    """Every rule that the compose document breaks, one sentence each; `root` is the folder it lies in."""
    found = [f"top level: unknown key {key}" for key in document if key not in TOP_KEYS and not key.startswith("x-")]
    services: dict[str, dict[str, Any]] = document.get("services", {})
    for name, service in services.items():
        found += [f"{name}: {fault}" for fault in _service_faults(name, service, document, root)]
    used = {source for service in services.values() for source, _ in _mounts(service)}
    found += [f"volume {name} is used by no service" for name in document.get("volumes", {}) if name not in used]
    given = {name for service in services.values() for name in service.get("secrets", [])}
    found += [f"secret {name} is used by no service" for name in document.get("secrets", {}) if name not in given]
    return found


def default_of(text: str) -> str:
    """The text with each variable replaced by its default, or by nothing where it has none."""
    return VARIABLE.sub(lambda match: match["rest"] if match["sign"] == "-" else "", text)


def is_one_shot(service: dict[str, Any]) -> bool:
    """Whether the service ends by itself: only such a one may be waited for until it has completed."""
    return service.get("restart") == "no"


def _service_faults(name: str, service: dict[str, Any], document: dict[str, Any], root: Path) -> Iterator[str]:
    yield from (f"unknown key {key}" for key in service if key not in SERVICE_KEYS)
    yield from _image_faults(service, root)
    yield from _health_faults(service)
    yield from _need_faults(name, service, document["services"])
    yield from _mount_faults(service, document, root)
    for secret in service.get("secrets", []):
        if secret not in document.get("secrets", {}):
            yield f"secret {secret} is not declared"
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"port {port} is published beyond the loopback"
    for key, value in service.get("environment", {}).items():
        if not isinstance(value, str):
            yield f"environment {key} is {value!r}, not a string: quote it"
        elif SENSITIVE.search(key) and not key.endswith("_FILE"):
            yield f"environment {key} carries a secret: give the path of a secret file"
    if "restart" not in service:
        yield "says nothing about restart: a one-shot job says no, anything else unless-stopped"


def _image_faults(service: dict[str, Any], root: Path) -> Iterator[str]:
    image = default_of(service.get("image", ""))
    _, _, tag = image.rpartition(":")
    if not image:
        yield "has no image"
    elif ":" not in image or "latest" in tag or not re.match(r"\d+\.\d+(\.\d+)?", tag):
        yield f"image {image} is not pinned to a version"
    if build := service.get("build"):
        for path in (build["context"], Path(build["context"]) / build["dockerfile"]):
            if not (root / path).exists():
                yield f"build: {path} does not exist"


def _health_faults(service: dict[str, Any]) -> Iterator[str]:
    health = service.get("healthcheck")
    if health is None:
        return
    yield from (f"healthcheck: unknown key {key}" for key in health if key not in HEALTH_KEYS)
    test = health.get("test")
    if not health.get("disable") and not (isinstance(test, list) and test[0] in {"CMD", "CMD-SHELL"} and test[1:]):
        yield f"healthcheck: the test is {test!r}, not a list that begins with CMD"


def _need_faults(name: str, service: dict[str, Any], services: dict[str, dict[str, Any]]) -> Iterator[str]:
    for target, need in service.get("depends_on", {}).items():
        condition = need.get("condition")
        if target not in services:
            yield f"waits for {target}, which does not exist"
            continue
        other = services[target]
        healthcheck = other.get("healthcheck", {})
        if condition not in CONDITIONS:
            yield f"waits for {target} with the unknown condition {condition}"
        elif condition == "service_healthy" and (not healthcheck or healthcheck.get("disable")):
            yield f"waits for {target} to be healthy, which has no healthcheck"
        elif condition == "service_completed_successfully" and not is_one_shot(other):
            yield f"waits for {target} to complete, which restarts for ever"
        elif condition != "service_completed_successfully" and is_one_shot(other):
            yield f"waits for the one-shot {target} to be up rather than to have completed"
    if name in _all_needs(name, services):
        yield "waits for itself in a circle"


def _all_needs(name: str, services: dict[str, dict[str, Any]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(services[name].get("depends_on", {}))
    while waiting:
        target = waiting.pop()
        if target not in seen:
            seen.add(target)
            waiting += services.get(target, {}).get("depends_on", {})
    return seen


def _mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for mount in service.get("volumes", []):
        source, _, target = str(mount).partition(":")
        yield source, target


def _mount_faults(service: dict[str, Any], document: dict[str, Any], root: Path) -> Iterator[str]:
    for source, target in _mounts(service):
        if not target.startswith("/"):
            yield f"mount {source} has no absolute target"
        if source.startswith("."):
            if not (root / source).is_file():
                yield f"mounts {source}, which is not a file of the repository"
            if not target.endswith(":ro"):
                yield f"mounts {source} writable"
        elif source not in document.get("volumes", {}):
            yield f"mounts volume {source}, which is not declared"
