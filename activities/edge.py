"""Where Fettle's errors become Temporal's: one translation for every activity, by the error's own `kind`."""

from typing import Any

from temporalio import worker
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain import errors


def translate(error: errors.FettleError) -> ApplicationError:
    """Keep the sentence and the type; say whether a retry can help, and not before when."""
    benign = error.kind is errors.Kind.BENIGN
    return ApplicationError(
        str(error),
        type=error.wire_type(),
        non_retryable=error.kind in {errors.Kind.FINAL, errors.Kind.HUMAN},
        next_retry_delay=error.retry_after,
        category=ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED,
    )


class _Inbound(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except errors.FettleError as error:
            raise translate(error) from error


class ErrorTranslation(worker.Interceptor):
    """Installed on every worker: activities raise `domain.errors` and never think of Temporal's."""

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:
        return _Inbound(super().intercept_activity(next))
