"""The environment of an untrusted process, built from nothing: what is not named here does not reach it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from domain import errors

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOCALE: Final = "C.UTF-8"

_FORBIDDEN: Final = re.compile(
    r"(?ix) ^ (?: .*(?:GITHUB|GITLAB|GITEA|FORGEJO|BITBUCKET)_.*(?:TOKEN|KEY|SECRET|PASSWORD|PAT).*"
    r" | GH_.*TOKEN | FETTLE_.* | TEMPORAL_.* | SSH_(?:AUTH_SOCK|AGENT_PID|ASKPASS)"
    r" | GIT_(?:ASKPASS|CREDENTIALS|SSH|SSH_COMMAND|CONFIG.*)"
    r" | LD_.* | DYLD_.* | BASH_ENV | ENV | PYTHON.* | NODE_OPTIONS ) $"
)
"""Names that are refused even when a setting asks for them: a forge token in the agent's hands would void promise 8 of
the design (the agent proposes, the worker pushes); the loader variables would run code outside the agent's own."""


def build(
    *,
    home: Path,
    tmp: Path,
    host: Mapping[str, str],
    passed: Iterable[str] = (),
    fixed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of one confined process.

    Args:
        home: The run's own home directory.
        tmp: The run's own directory for temporary files.
        host: The worker's environment; read for `PATH`, `LANG` and the names in `passed`, nothing else.
        passed: Names that the backend needs, such as a model API key. A name that the host lacks is left out.
        fixed: Names the backend sets itself, such as switches that keep it quiet.

    Raises:
        ConfigurationError: a name is one that must never reach an agent.
    """
    fixed = fixed or {}
    passed = tuple(passed)
    for name in (*passed, *fixed):
        if _FORBIDDEN.match(name):
            raise errors.ConfigurationError(
                f"the agent's environment must not hold {name}, a backend's settings ask for it: "
                "remove it from pass_environment (an agent never needs a forge token, the worker pushes for it)"
            )
    base = {
        "PATH": _absolute_entries(host.get("PATH", "")) or DEFAULT_PATH,
        "LANG": host.get("LANG") or _LOCALE,
        "TERM": "dumb",
    }
    own_places = {"HOME": str(home), "TMPDIR": str(tmp)}
    return {**base, **{name: host[name] for name in passed if name in host}, **fixed, **own_places}


def _absolute_entries(path: str) -> str:
    """Relative entries are dropped: in a hostile worktree `.` would choose the program that runs."""
    return ":".join(entry for entry in path.split(":") if entry.startswith("/"))
