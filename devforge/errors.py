"""What the forge refuses, in GitHub's words and shapes.

ApiError                any refusal: a status, a message, an optional list of field errors
GitFailed               a git command ended with an unexpected code (answers 500, or 422 where the caller knows why)
StartupFailed           the server cannot start: one sentence for the operator
"""

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION = "https://docs.github.com/rest"


class ApiError(Exception):
    """A refusal that becomes a JSON body `{"message", "documentation_url", "errors"}`."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.errors = [dict(item) for item in errors] if errors is not None else None
        self.headers = dict(headers or {})
        super().__init__(f"{status} {message}")

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        found: dict[str, Any] = {"message": self.message}
        if self.errors is not None:
            found["errors"] = self.errors
        found["documentation_url"] = DOCUMENTATION
        found["status"] = str(self.status)
        return found


class GitFailed(Exception):
    """A git command failed; `code` is its exit code and `stderr` what it said."""

    def __init__(self, arguments: Sequence[str], code: int, stderr: str) -> None:
        self.arguments = list(arguments)
        self.code = code
        self.stderr = stderr.strip()
        super().__init__(f"git {arguments[0] if arguments else ''} ended with {code}: {self.stderr[:400]}")


class StartupFailed(Exception):
    """The server cannot start; the text is one sentence for the operator."""


def not_found() -> ApiError:
    """404, also for what exists but may not be seen."""
    return ApiError(404, "Not Found")


def forbidden(message: str = "Resource not accessible by integration") -> ApiError:
    """403 for a caller who may see the thing but not do this."""
    return ApiError(403, message)


def bad_credentials() -> ApiError:
    """401 for a token that is unknown, revoked or expired."""
    return ApiError(401, "Bad credentials")


def invalid(resource: str, field: str, code: str = "invalid", message: str | None = None) -> ApiError:
    """422 `Validation Failed` about one field."""
    error = {"resource": resource, "field": field, "code": code}
    if message is not None:
        error["message"] = message
    return ApiError(422, "Validation Failed", [error])


def refused(message: str, resource: str | None = None) -> ApiError:
    """422 with a sentence; with a resource the sentence is a `custom` error under `Validation Failed`."""
    if resource is None:
        return ApiError(422, message)
    return ApiError(422, "Validation Failed", [{"resource": resource, "code": "custom", "message": message}])
