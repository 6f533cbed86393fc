"""The configuration of the daemon, `empiar-mirror run`: the table ``[daemon]``."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from empiar_schema.settings_types import Table

_LISTEN: Final = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]):(?P<port>\d{1,5})"
)


def _listen(text: str) -> str:
    found = _LISTEN.fullmatch(text)
    if text and (found is None or int(found["port"]) > 65_535):
        raise ValueError("must be an address and a port, such as 127.0.0.1:9170 or [::]:9170, or empty")
    return text


class DaemonSettings(Table):
    """The daemon, `empiar-mirror run`: how it is seen while it works."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9170"
    """Address and port of `/metrics`, `/healthz` and `/readyz` (docs/operations.md); there is no login, so keep it on this machine or in a network that you trust. Empty means none."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`; None where nothing is to listen."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)
