"""Waits that cost no event while they last, and how their ends are told apart."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from temporalio import exceptions, workflow

from domain import errors

T = TypeVar("T")


def cancelled() -> bool:
    """Whether a cancel was asked for. A call that ends well in spite of it swallows the cancel, so every wait asks."""
    return workflow.cancellation_reason() is not None


async def stop_if_cancelled() -> None:
    """Raise a cancel that a call has swallowed. One that is only being delivered is let in first: raised by us and
    then delivered as well, it would cut the clean-up short."""
    if cancelled():
        await workflow.wait_condition(lambda: True)
        raise asyncio.CancelledError


async def finished(call: "workflow.ActivityHandle[T]") -> T:
    """The answer of a call whose options wait for a cancel, also when the cancel arrives with it or while it is made:
    what was made must be known to be taken back. The SDK would drop an answer that comes in the same workflow task as
    the cancel."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await workflow.wait_condition(lambda: True)  # an answer that has come along is taken in first
        call.cancel()
        return await call


async def finished_unless(call: "workflow.ActivityHandle[T]", otherwise: Callable[[], bool]) -> T | None:
    """As `finished`. When `otherwise` comes true first the call is cancelled: None, unless it has an answer all the
    same."""
    condition = asyncio.create_task(workflow.wait_condition(otherwise))
    try:
        await workflow.wait([call, condition], return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
        return await finished(call)
    except exceptions.ActivityError:
        if condition.done() and not cancelled():
            return None  # an attempt that was under way when the cancel came is the last one, and has its own error
        raise
    except asyncio.CancelledError:
        await workflow.wait_condition(lambda: True)  # as in `finished`
        call.cancel()
        return await call
    finally:
        condition.cancel()
        await asyncio.gather(condition, return_exceptions=True)


async def until(watch: "asyncio.Task[T]", otherwise: Callable[[], bool]) -> T | None:
    """The watch's answer, or None when `otherwise` came true first. The loser is cancelled and forgotten."""
    condition = asyncio.create_task(workflow.wait_condition(otherwise))
    try:
        done, _ = await workflow.wait([watch, condition], return_when=asyncio.FIRST_COMPLETED)
        return watch.result() if watch in done else None
    finally:
        for task in (watch, condition):
            if not task.done():
                task.cancel()
        await asyncio.gather(watch, condition, return_exceptions=True)


def error_type(error: exceptions.FailureError) -> str:
    cause = _cause(error)
    return (
        (cause.type or "ApplicationError") if isinstance(cause, exceptions.ApplicationError) else type(cause).__name__
    )


def error_message(error: exceptions.FailureError) -> str:
    return _cause(error).message


def _cause(error: exceptions.FailureError) -> exceptions.FailureError:
    """What the activity or child itself raised; an error that is not wrapped is its own cause."""
    return error.cause if isinstance(error.cause, exceptions.FailureError) else error


def ran_out(error: exceptions.ActivityError) -> bool:
    """Whether a watch ended because its time was up: with a last 'not yet', or before the first answer."""
    benign = {errors.ChecksPending.wire_type(), errors.NothingNew.wire_type()}
    cause = error.cause
    if isinstance(cause, exceptions.TimeoutError):
        return cause.type == exceptions.TimeoutType.SCHEDULE_TO_CLOSE
    return isinstance(cause, exceptions.ApplicationError) and cause.type in benign
