"""The one boundary that turns exceptions into words and exit codes.

Codes: 0 done, 1 refused or failed, 2 usage, 3 Temporal or the forge unreachable, 130 interrupted. What nobody foresaw
becomes one line and a report file that can be pasted into an issue. Commands raise and never print an error.
"""

import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final

import typer

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130

_SECRET_WORDS: Final = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL")


class Failed(Exception):
    """A command ends without having done what was asked; the message is the sentence for the user."""

    exit_code = FAILED


class Usage(Failed):
    """What was typed cannot be carried out as it stands."""

    exit_code = USAGE


class Unreachable(Failed):
    """Something outside did not answer."""

    exit_code = UNREACHABLE


def boundary(work: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Run `work` and return the exit code of what happened; the sentence goes to stderr."""
    try:
        result = work()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except typer.Exit as leave:
        return leave.exit_code
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else DONE if leave.code is None else FAILED
    except Exception as failure:
        return _tell(failure, arguments)
    # Without standalone mode an early end (`--help`, typer.Exit) comes back as its code.
    return result if isinstance(result, int) and not isinstance(result, bool) else DONE


def _tell(failure: Exception, arguments: Sequence[str]) -> int:
    if hasattr(failure, "show") and hasattr(failure, "format_message"):  # typer's usage errors, whichever click it has
        failure.show()
        return int(getattr(failure, "exit_code", USAGE))
    code, sentence = _meaning(failure)
    if not sentence:
        path = _report(failure, arguments)
        sentence = (
            f"this should not happen ({type(failure).__name__}): a report without secrets is in {path}, "
            "read it and paste it into an issue"
        )
    print(f"error: {_printable(sentence)}", file=sys.stderr)
    return code


def _meaning(failure: Exception) -> tuple[int, str]:
    """Exit code and sentence of a failure that was foreseen; an empty sentence for all others."""
    from domain import errors

    if isinstance(failure, errors.ForgeUnavailable | errors.RateLimited):
        return UNREACHABLE, str(failure)
    if isinstance(failure, Failed | errors.FettleError):
        return int(getattr(failure, "exit_code", FAILED)), str(failure)
    # Only a command that has imported the client can fail with one of its errors.
    return _temporal(failure) if "temporalio.client" in sys.modules else (FAILED, "")


def _temporal(failure: Exception) -> tuple[int, str]:
    from temporalio import client, exceptions, service

    if isinstance(failure, client.WorkflowUpdateFailedError):
        cause = failure.cause
        return FAILED, cause.message if isinstance(cause, exceptions.ApplicationError) else str(cause)
    if isinstance(failure, client.WorkflowUpdateRPCTimeoutOrCancelledError):
        return UNREACHABLE, (
            "no worker answered in time, so whether it was recorded is not known: see fettle worker list, then repeat "
            "the command (it counts once)"
        )
    if isinstance(failure, service.RPCError):
        away = failure.status in {service.RPCStatusCode.UNAVAILABLE, service.RPCStatusCode.DEADLINE_EXCEEDED}
        advice = "check that the server runs (fettle doctor), then repeat the command" if away else "see fettle doctor"
        return UNREACHABLE if away else FAILED, f"Temporal answered {failure.status.name}, {failure.message}: {advice}"
    return FAILED, ""


def _report(failure: Exception, arguments: Sequence[str]) -> str:
    from domain import redaction

    values = frozenset(v for k, v in os.environ.items() if any(word in k.upper() for word in _SECRET_WORDS))
    text = "\n".join(
        [
            f"fettle {metadata.version('fettle-orchestrator')}",
            f"python {platform.python_version()} on {platform.platform()}",
            f"command: fettle {shlex.join(arguments)}",
            "",
            *traceback.format_exception(failure),
        ]
    )
    handle, path = tempfile.mkstemp(prefix="fettle-report-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as report:
        report.write(redaction.Redactor(values).redact(text))
    return path


def _printable(text: str) -> str:
    """Without control characters: part of a message may be anybody's text, and a terminal obeys escape sequences."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())
