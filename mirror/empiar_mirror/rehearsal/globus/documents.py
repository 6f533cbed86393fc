"""The JSON documents of the Transfer service: errors, results, times, and how a path is shown."""

from __future__ import annotations

import secrets
import time

from empiar_mirror.rehearsal.archive import Json

Document = dict[str, Json]

#: What stands in for a name that cannot be shown as text.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class ServiceError(Exception):
    """An error that the Transfer service answers with: HTTP status, code, sentence, and further fields of the document."""

    def __init__(self, status: int, code: str, message: str, **more: Json) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.more = more

    def document(self, resource: str) -> Document:
        """The body of the answer to a request for `resource`."""
        return {
            "code": self.code,
            "message": self.message,
            "request_id": request_id(),
            "resource": resource,
            **self.more,
        }


def bad_request(message: str, kind: str = "") -> ServiceError:
    """The error for a request that can never be right."""
    return ServiceError(400, f"ClientError.BadRequest.{kind}" if kind else "ClientError.BadRequest", message)


def request_id() -> str:
    """A new one, as the service puts into errors and results."""
    return secrets.token_urlsafe(6)


def result(code: str, message: str, resource: str, kind: str = "result", **more: Json) -> Document:
    """The document that says that something was done."""
    return {
        "DATA_TYPE": kind,
        "code": code,
        "message": message,
        "resource": resource,
        "request_id": request_id(),
        **more,
    }


def timestamp(seconds: float | None) -> str | None:
    """Unix time as the fields of tasks and events show it: ``2021-09-02T18:04:49+00:00``."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def modified(seconds: float) -> str:
    """Unix time as listings show it: ``2023-12-18 16:52:50+00:00``."""
    return time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime(seconds))


def shown(path: bytes) -> str:
    """`path` as text. Where a name is not UTF-8, what is shown does not lead back to it."""
    return b"/".join(_shown_name(name) for name in path.split(b"/")).decode()


def _shown_name(name: bytes) -> bytes:
    try:
        name.decode()
    except UnicodeDecodeError:
        return (REPLACEMENT + name.decode("latin-1")).encode()
    return name


def path_bytes(text: Json, what: str = "path") -> bytes:
    """The path that a request names.

    Raises:
        ServiceError: it is no absolute path, or holds what the service does not allow.
    """
    if not isinstance(text, str) or not text.startswith("/"):
        raise bad_request(f"{what} must be an absolute path")
    if "\0" in text or "\r\n" in text:
        raise ServiceError(400, "InvalidPath", f"{what} holds characters that are not allowed")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ServiceError(400, "InvalidPath", f"{what} is not valid Unicode") from error
