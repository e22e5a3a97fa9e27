"""Errors, as Databricks words them (docs.databricks.com/api/workspace/introduction, SDK's errors)."""

from __future__ import annotations


class ApiError(Exception):
    """An error: HTTP status, Databricks' error code and the message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def body(self) -> dict[str, str]:
        """The JSON that clients read."""
        return {"error_code": self.code, "message": str(self)}


def invalid(message: str) -> ApiError:
    """A parameter that is missing, of the wrong type or out of range."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def unknown(kind: str, identity: object) -> ApiError:
    """A job or run that does not exist: the Jobs API says so with 400 (see the SDK's error overrides)."""
    return invalid(f"{kind} {identity} does not exist.")


def not_found(message: str) -> ApiError:
    """A file, folder or volume that does not exist."""
    return ApiError(404, "NOT_FOUND", message)


def not_offered(what: str) -> ApiError:
    """Something that the real service has and this stand-in does not."""
    return ApiError(501, "NOT_IMPLEMENTED", f"{what} is not offered by the local Databricks")
