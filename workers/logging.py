"""One pipeline for every log line of a process: structlog's and the standard library's, redacted, on stderr.

JSON lines unless a person looks on. What runs inside an activity or a workflow carries its Temporal names by itself.
"""

import functools
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow

Redact = Callable[[str], str]

_CHATTY: Final = ("aiosqlite", "alembic", "asyncio", "git", "httpcore", "httpx", "sqlalchemy", "uvicorn.access")
"""Their INFO is about every request or statement: heard from WARNING on, unless everything is debugged."""
_OWN_HANDLERS: Final = ("uvicorn", "uvicorn.access", "uvicorn.error")
_DEEPEST: Final = 8
"""Nesting of a logged value that is still walked through; what lies deeper is shown as its repr."""


def configure(
    redact: Redact, *, level: str = "info", as_json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send all logging of this process through one handler. Calling it again replaces the first call.

    uvicorn must be started with `log_config=None`, or it takes its own loggers back.

    Args:
        redact: Masks the secrets in a text; applied to every value and then to the whole line.
        level: The lowest level that is written: debug, info, warning or error.
        as_json: None: JSON, unless `stream` is a terminal.
        stream: Where lines go; None: stderr.
    """
    out = stream or sys.stderr
    lowest = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_context(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a later call must reach the loggers that modules hold
    )
    handler = _Handler(out)
    handler.setFormatter(
        _formatter(redact, as_json=not out.isatty() if as_json is None else as_json, terminal=out.isatty())
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(lowest)
    for name in _OWN_HANDLERS:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if lowest <= logging.DEBUG else max(lowest, logging.WARNING))
    logging.captureWarnings(True)
    # The names go into fields of their own, so the SDK need not append them to the message.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    # A handler may import and read the clock; the sandbox is there for workflow code only.
    workflow.logger.unsafe_disable_sandbox()


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """The inherited one prints the message and its arguments, unredacted."""
        kind = sys.exc_info()[0]
        with suppress(Exception):  # stderr itself may be gone
            self.stream.write(f"a log line of {record.name} could not be written: {kind.__name__ if kind else ''}\n")


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def __init__(self, redact: Redact, **options: Any) -> None:
        super().__init__(**options)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def _formatter(redact: Redact, *, as_json: bool, terminal: bool) -> logging.Formatter:
    def redact_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        # Before rendering: JSON escapes quotes and line ends, and an escaped secret is not recognised any more.
        return {key: _redacted(value, redact, _DEEPEST) for key, value in event.items()}

    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)
    )
    return _Formatter(
        redact,
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_context()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact_values,
            renderer,
        ],
    )


def _context() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _temporal_names,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _temporal_names(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say which workflow and activity a line is about, in the same fields whoever logged it."""
    event.pop("color_message", None)  # uvicorn's second copy of the message
    names: dict[str, object] = {}
    if isinstance(of_workflow := event.pop("temporal_workflow", None), Mapping):
        names = {
            key: of_workflow.get(key) for key in ("workflow_id", "run_id", "workflow_type", "task_queue", "attempt")
        }
        names["update"] = of_workflow.get("update_name")
    of_activity = event.pop("temporal_activity", None)
    look_up: Callable[[str], object] | None = None
    if activity.in_activity():
        look_up = functools.partial(getattr, activity.info())
    elif isinstance(of_activity, Mapping):  # the SDK's own line about an activity that has ended
        look_up = of_activity.get
    if look_up is not None:
        names = {key: look_up(key) for key in ("workflow_id", "workflow_type", "task_queue", "attempt")}
        names |= {"run_id": look_up("workflow_run_id"), "activity": look_up("activity_type")}
    return {**{key: value for key, value in names.items() if value is not None}, **event}


def _redacted(value: object, redact: Redact, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if depth > 0 and isinstance(value, Mapping):
        return {redact(str(key)): _redacted(item, redact, depth - 1) for key, item in value.items()}
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item, redact, depth - 1) for item in value]
    return redact(repr(value))
