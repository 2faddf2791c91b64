import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog
from temporalio import activity, workflow
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from domain import redaction
from tests.workers.logging_workflow import TalkingWorkflow, talk
from workers import embedded
from workers import logging as log_lines

SECRET = "hunter2-hunter2"
KEY = "-----BEGIN TOY KEY-----\nabcdefghijklmnopqrstuvwxyz\n-----END TOY KEY-----"

Read = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Logging is a fact of the process: leave it as it was for the tests that follow."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    workflow.logger.workflow_info_on_message = activity.logger.activity_info_on_message = True
    workflow.logger.unsafe_disable_sandbox(False)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def read(stream: io.StringIO) -> Read:
    """Configure with a real redactor, and give back the lines that were written since."""
    log_lines.configure(redaction.Redactor(frozenset({SECRET, KEY})).redact, stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_says_time_level_logger_event_and_fields(read: Read) -> None:
    structlog.stdlib.get_logger("fettle.intake").warning("delivery.refused", size=12, tags=["a", None, True])
    [line] = read()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery.refused",
        "level": "warning",
        "logger": "fettle.intake",
        "size": 12,
        "tags": ["a", None, True],
    }


def test_standard_library_lines_take_the_same_way(read: Read) -> None:
    logging.getLogger("uvicorn.error").info("Started on %s", "port 1", extra={"color_message": "Started", "pid": 7})
    [line] = read()
    assert line.pop("timestamp")
    assert line == {"event": "Started on port 1", "level": "info", "logger": "uvicorn.error", "pid": 7}


def test_level_is_kept_for_both_kinds(stream: io.StringIO) -> None:
    log_lines.configure(str, level="warning", stream=stream)
    structlog.stdlib.get_logger("fettle").info("quiet")
    logging.getLogger("temporalio").info("quiet")
    logging.getLogger("temporalio").warning("loud")
    assert stream.getvalue().count("\n") == 1
    assert "loud" in stream.getvalue()


def test_libraries_that_tell_every_request_are_heard_from_warning_on(stream: io.StringIO) -> None:
    log_lines.configure(str, stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET http://x")
    assert stream.getvalue() == ""
    log_lines.configure(str, level="debug", stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET http://x")
    assert "HTTP Request" in stream.getvalue()


def test_secret_is_masked_wherever_it_stands(stream: io.StringIO, read: Read) -> None:
    class Holder:
        def __repr__(self) -> str:
            return f"Holder({SECRET})"

    log = structlog.stdlib.get_logger("fettle")
    log.info(f"in the event {SECRET}")
    log.info("in a field", plain=SECRET, nested={"list": [{SECRET: SECRET}], "object": Holder()}, raw=SECRET.encode())
    logging.getLogger("httpx").warning("in an argument: %s", SECRET, extra={"also": SECRET})
    try:
        raise RuntimeError(f"in an exception: {SECRET}")
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("temporalio").exception("failed")
    assert len(read()) == 5
    assert SECRET not in stream.getvalue()
    assert "in an exception: [redacted:known-secret]" in read()[-1]["exception"]


def test_secret_of_several_lines_is_masked_before_json_escapes_it(stream: io.StringIO, read: Read) -> None:
    structlog.stdlib.get_logger("fettle").info("key", key=KEY, quoted=f'"{KEY}"')
    [line] = read()
    assert line["key"] == "[redacted:known-secret]"
    assert "abcdefghijklmnopqrstuvwxyz" not in stream.getvalue()


def test_token_that_nobody_registered_is_masked_by_its_shape(read: Read) -> None:
    logging.getLogger("uvicorn.error").info("token %s", "ghp_" + "a1B2" * 9)
    assert read()[0]["event"] == "token [redacted:github-token]"


def test_warning_of_a_library_becomes_a_redacted_line(stream: io.StringIO, read: Read) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(False)  # catch_warnings has put the original hook back
        logging.captureWarnings(True)
        warnings.warn(f"deprecated: {SECRET}", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "deprecated: [redacted:known-secret]" in read()[0]["event"]


def test_line_that_cannot_be_written_is_reported_without_its_text(
    capsys: pytest.CaptureFixture[str], stream: io.StringIO
) -> None:
    def fail(_: str) -> str:
        raise RuntimeError(SECRET)

    log_lines.configure(fail, stream=stream)
    logging.getLogger("fettle").warning("holds %s", SECRET)
    assert stream.getvalue() == "a log line of fettle could not be written: RuntimeError\n"
    assert SECRET not in capsys.readouterr().err


def test_terminal_gets_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, asked_for_json = Terminal(), Terminal()
    log_lines.configure(lambda text: text.replace(SECRET, "…"), stream=terminal)
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        structlog.stdlib.get_logger("fettle").exception("failed", value=SECRET)
    assert "RuntimeError: …" in terminal.getvalue()
    assert SECRET not in terminal.getvalue()
    log_lines.configure(str, as_json=True, stream=asked_for_json)
    structlog.stdlib.get_logger("fettle").info("hello")
    assert json.loads(asked_for_json.getvalue())["event"] == "hello"


def test_lines_go_to_stderr_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    log_lines.configure(str)
    structlog.stdlib.get_logger("fettle").info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]  # ours is a stream's


async def test_both_loggers_of_an_activity_name_it(read: Read) -> None:
    await ActivityEnvironment().run(talk)
    structlog.stdlib.get_logger("fettle").info("outside")
    lines = {line["event"]: line for line in read()}  # other workers of this process may have told something too
    first, second, outside = (lines[said] for said in ("said by the SDK's logger", "said by structlog", "outside"))
    for line in (first, second):
        names = {key: line[key] for key in ("workflow_id", "run_id", "activity", "attempt", "task_queue")}
        assert names == {
            "workflow_id": "test",
            "run_id": "test-run",
            "activity": "unknown",
            "attempt": 1,
            "task_queue": "test",
        }
        assert "temporal_activity" not in line
    assert second["token"] == "[redacted:known-secret]"
    assert "workflow_id" not in outside


async def test_lines_of_a_real_workflow_name_it_through_the_sandbox(read: Read) -> None:
    """Formatting happens inside the workflow's thread, where the sandbox watches over clocks and imports."""
    async with (
        await WorkflowEnvironment.start_local(
            dev_server_existing_path=str(embedded.binary()), dev_server_startup_timeout=timedelta(seconds=40)
        ) as environment,
        Worker(environment.client, task_queue="talk", workflows=[TalkingWorkflow], activities=[talk]),
    ):
        await environment.client.execute_workflow(TalkingWorkflow.run, id="talk/1", task_queue="talk")
    lines = {line["event"]: line for line in read()}
    of_workflow = lines["said by a workflow about [redacted:known-secret]"]
    of_activity = lines["said by structlog"]
    assert {key: of_workflow[key] for key in ("workflow_id", "workflow_type", "task_queue", "attempt")} == {
        "workflow_id": "talk/1",
        "workflow_type": "TalkingWorkflow",
        "task_queue": "talk",
        "attempt": 1,
    }
    assert of_activity["activity"] == "talk"
    assert of_activity["run_id"] == of_workflow["run_id"]
