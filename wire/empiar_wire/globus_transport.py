"""The SDK's HTTP underneath, with bounds: an answer without end fills neither the memory nor a thread's time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import requests
from globus_sdk import BaseClient
from globus_sdk.transport import RetryCheckCollection
from requests.adapters import HTTPAdapter

#: Each read of an answer may take so long; a listing of 100,000 names does not come sooner.
READ_S: Final = 60.0
#: An answer as a whole may take so long, and be so large: a listing of 100,000 names is some 60 MB.
WHOLE_S: Final = 300.0
LARGEST_ANSWER_BYTES: Final = 256 * 2**20


class OverlongAnswer(requests.RequestException):
    """An answer was larger, or took longer, than any sensible one."""


def tame(client: BaseClient, *, largest_bytes: int = LARGEST_ANSWER_BYTES, whole_s: float = WHOLE_S) -> None:
    """The client asks once, within bounds, and gives the answer, whatever it is.

    The SDK's own retries sleep in the thread and cut Retry-After to 10 s, and its checks of the answer fall over odd ones.
    """
    client.retry_config.max_retries = 0
    client.retry_config.checks = RetryCheckCollection()
    client.transport.http_timeout = READ_S
    for scheme in ("https://", "http://"):
        client.transport.session.mount(scheme, _Bounded(largest_bytes, whole_s))


class _Bounded(HTTPAdapter):
    """Gives answers whose body can only be read within bounds."""

    def __init__(self, largest_bytes: int, whole_s: float) -> None:
        super().__init__()
        self._largest_bytes = largest_bytes
        self._whole_s = whole_s

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """See `HTTPAdapter.send`."""
        until = time.monotonic() + self._whole_s
        answer = super().send(request, stream, timeout, verify, cert, proxies)
        answer.raw = _Body(answer.raw, self._largest_bytes, until)
        return answer


class _Body:
    """The body that `requests` reads, counted."""

    def __init__(self, raw: object, largest_bytes: int, until: float) -> None:
        self._raw = raw
        self._left = largest_bytes
        self._until = until

    def __getattr__(self, name: str) -> object:
        return getattr(self._raw, name)

    def stream(self, amount: int, decode_content: bool | None = None) -> Iterator[bytes]:
        """The pieces, unpacked.

        Raises:
            OverlongAnswer: there are too many, or they come too slowly.
        """
        for piece in self._raw.stream(amount, decode_content=decode_content):  # type: ignore[attr-defined] # urllib3's body; requests does not type it
            self._left -= len(piece)
            if self._left < 0 or time.monotonic() > self._until:
                self._raw.close()  # type: ignore[attr-defined] # as above
                raise OverlongAnswer("too large" if self._left < 0 else "too slow")
            yield piece
