"""Notifications by an HTTP request."""

from __future__ import annotations

import ssl
from typing import Final

from pydantic import SecretStr

from empiar_mirror.notify.gathering import Message
from empiar_mirror.notify.way import NotDelivered

#: Answers that another try may turn into another one.
_AGAIN: Final = frozenset({408, 425, 429})
#: No server is obeyed that asks for a longer wait.
_LONGEST_WAIT_S: Final = 300.0


class WebhookWay:
    """Sends the message as JSON in a POST request. The address is a secret: no error holds it, nor what the server says."""

    def __init__(self, url: SecretStr, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s

    async def send(self, message: Message) -> None:
        """The server has answered 2xx.

        Raises:
            NotDelivered: it has not.
        """
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                # A redirect would carry the message, and often the secret, to somebody else.
                session.post(
                    self._url.get_secret_value(), json=message.document(), allow_redirects=False
                ) as answer,
            ):
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except TimeoutError:
            raise NotDelivered(
                f"the webhook did not answer within {self._timeout_s:g} s", again=True
            ) from None
        except (ssl.SSLError, aiohttp.ClientSSLError):
            raise NotDelivered("the webhook's certificate is not trusted", again=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotDelivered(f"the webhook cannot be reached: {_why(error)}", again=True) from None
        if not 200 <= status < 300:
            again = status in _AGAIN or status >= 500
            after_s = min(float(wait), _LONGEST_WAIT_S) if wait.isascii() and wait.isdigit() else None
            raise NotDelivered(f"the webhook answered HTTP {status}", again=again, after_s=after_s)


def _why(error: BaseException) -> str:
    """The system's own words, or the kind of error: texts of the library hold addresses."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
