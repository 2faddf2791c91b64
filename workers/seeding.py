"""The pool and the budgets of an installation's configuration, given to a fleet that nobody has changed yet."""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Final

import pydantic
import structlog
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from domain import budget, errors, refs, roster, wire
from integrations.agent import registry
from workers.settings import Settings

BY: Final = "configuration"
_ANSWER: Final = timedelta(seconds=20)

_UNTOLD: Final = "the fleet could not be told the configuration; the next start tells it again"

_log = structlog.stdlib.get_logger(__name__)


def read(path: Path) -> roster.File:
    """The pool that a file describes.

    Raises:
        ConfigurationError: it cannot be read, or holds what cannot be in a pool; names the key.
    """
    try:
        found = roster.File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        named = {*(each.backend for each in found.types), *(each.backend for each in found.agents)} - {""}
        unknown = sorted(named - registry.BACKENDS.keys())
        if not unknown:
            return found
        problem = f"names the backend {', '.join(unknown)}, the known ones are {', '.join(registry.BACKENDS)}"
    except OSError as failure:
        problem = f"cannot be read ({failure.strerror})"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        problem = f"is not TOML ({failure})"
    except pydantic.ValidationError as invalid:
        problem = f"holds what cannot be in the pool: {roster.problems(invalid)}"
    raise errors.ConfigurationError(f"agents_file names {path}, which {problem}: correct the file, or the setting")


def limits(settings: Settings) -> dict[str, float]:
    """The budgets that the settings name."""
    given = {
        "run_usd": settings.budget_run_usd,
        "issue_usd": settings.budget_issue_usd,
        "repository_day_usd": settings.budget_repository_day_usd,
        "day_usd": settings.budget_day_usd,
        "turn_usd": settings.budget_turn_usd,
    }
    return {name: usd for name, usd in given.items() if usd is not None}


async def seed(temporal: Client, settings: Settings) -> None:
    """Tell the fleet what the configuration says. What a person has changed since stays as it is; nothing is waited for
    longer than a moment, since the next start tells it again.

    Raises:
        ConfigurationError: `agents_file` cannot be used.
    """
    if settings.agents_file is not None:
        said = read(settings.agents_file)
        change = roster.Change(by=BY, kind=roster.Kind.SEED, types=said.types, agents=said.agents)
        await _tell(temporal, wire.CHANGE_AGENTS, change)
    if named := limits(settings):
        await _tell(temporal, wire.CHANGE_BUDGETS, budget.Change(by=BY, limits=dict(named), seed=True))


async def _tell(temporal: Client, name: str, change: roster.Change | budget.Change) -> None:
    handle = temporal.get_workflow_handle(refs.FLEET_WORKFLOW_ID)
    try:
        await handle.execute_update(name, change, rpc_timeout=_ANSWER)
    except WorkflowUpdateFailedError as refused:
        cause = refused.cause
        if isinstance(cause, ApplicationError) and cause.type == errors.Refused.wire_type():
            _log.info("the fleet keeps what it has", update=name, because=cause.message)
        else:  # a fleet that still runs an older build does not know the update
            _log.warning(_UNTOLD, update=name, because=str(cause))
    except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as unanswered:
        _log.warning(_UNTOLD, update=name, because=str(unanswered))
