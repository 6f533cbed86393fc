"""The configuration of the daemon, `empiar-mirror run`: the table ``[daemon]``."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from empiar_schema.settings_types import Seconds, Table

_LISTEN: Final = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]):(?P<port>\d{1,5})"
)


def _listen(text: str) -> str:
    found = _LISTEN.fullmatch(text)
    if text and (found is None or int(found["port"]) > 65_535):
        raise ValueError("must be an address and a port, such as 127.0.0.1:9170 or [::]:9170, or empty")
    return text


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("must be a time of day such as 07:00")
    return text


class DaemonSettings(Table):
    """The daemon, `empiar-mirror run`: how it is seen while it works."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9170"
    """Address and port of `/metrics`, `/healthz` and `/readyz` (docs/operations.md); there is no login, so keep it on this machine or in a network that you trust. Empty means none."""
    notify_every: Seconds = Field(default=3600.0, gt=0)
    """Notifications of one kind are sent at most so often; what happens meanwhile is gathered into one."""
    summary_at: Annotated[str, AfterValidator(_time_of_day)] = "07:00"
    """Local time of the daily summary."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`; None where nothing is to listen."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)
