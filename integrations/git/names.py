"""Names that reach a git command line or a path: checked here once, so that none is read as an option or a way out."""

import hashlib
import ipaddress
import re
from typing import Final
from urllib import parse

from domain import errors, refs

SHA: Final = re.compile(r"^[0-9a-f]{40}$")
_FORBIDDEN_IN_REF: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|(?:^|/)\.|\.$|/$|^/|^-")
"""What `git check-ref-format --branch` refuses."""
_LONGEST_REF: Final = 240


def valid_branch(name: str) -> bool:
    """Whether git accepts `refs/heads/<name>` and no command can read the name as an option."""
    return 0 < len(name) <= _LONGEST_REF and name not in {"@", "HEAD"} and not _FORBIDDEN_IN_REF.search(name)


def checked_branch(name: str) -> str:
    """`name`, unchanged.

    Raises:
        ConfigurationError: git would not accept it, or would read it as an option.
    """
    if not valid_branch(name):
        raise errors.ConfigurationError(
            f"{name!r} was given as a branch, git accepts no such branch name: correct the base branch in the policy"
        )
    return name


def branch_ref(name: str) -> str:
    """The full ref of a branch, on the forge and in the mirror."""
    return f"refs/heads/{checked_branch(name)}"


def short(sha: str) -> str:
    return sha[:7] if sha else "nothing"


def run_slug(run: str) -> str:
    """A directory and ref name for a run: readable, and different for different workflow ids."""
    return f"{refs.slug(run, 60)}-{hashlib.sha256(run.encode()).hexdigest()[:10]}"


def agent_ref(run: str) -> str:
    """Where the mirror keeps what a run's agent committed."""
    return f"refs/agent/{run_slug(run)}"


def snapshot_ref(run: str) -> str:
    """Where the mirror keeps the newest commit made of what a run's agent left uncommitted."""
    return f"refs/snapshot/{run_slug(run)}"


def wip_folder(run: str) -> str:
    """The name space of a run's work in progress, on the forge and in the mirror: no branch and no tag, so that no CI
    runs for it and no list of branches shows it."""
    return f"refs/fettle/wip/{run_slug(run)}/"


def wip_ref(run: str) -> str:
    """Where the forge keeps what a run's agent has left so far; moved by the host that holds the run."""
    return f"{wip_folder(run)}work"


def protocol(url: str, *, allow_file: bool = False) -> str:
    """The transport of a clone URL: `https`, `http` (to this machine only), or `file` where that is allowed.

    Raises:
        ConfigurationError: any other transport, credentials in the URL, or a form git could read as something else.
    """
    parts = parse.urlsplit(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if plain and "@" not in parts.netloc:
        if parts.scheme == "https" and parts.hostname:
            return "https"
        if parts.scheme == "http" and parts.hostname and _is_this_machine(parts.hostname):
            return "http"
        if parts.scheme == "file" and allow_file and parts.path.startswith("/") and not parts.netloc:
            return "file"
    raise errors.ConfigurationError(
        f"{_without_userinfo(url)!r} was given as a clone URL, accepted are https://host/path and http:// on this "
        "machine, both without a user or token in them: correct the forge's address in the settings"
    )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_userinfo(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)
