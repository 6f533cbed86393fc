"""The configuration of the web page, `empiar-mirror serve`: the table ``[serve]``."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, PositiveInt, SecretStr

from empiar_schema.settings_types import EnvironmentOnly, Seconds, Table

#: A token that is shorter can be guessed.
_SHORTEST_TOKEN: Final = 16


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?", text):
        raise ValueError("must be an address or a name of this machine, such as 127.0.0.1, 0.0.0.0 or ::")
    return text


def _token(secret: SecretStr | None) -> SecretStr | None:
    # Compose files and service units pass on variables that are empty.
    if secret is None or not (text := secret.get_secret_value().strip()):
        return None
    if len(text) < _SHORTEST_TOKEN or not re.fullmatch(r"[A-Za-z0-9_.~-]+", text):
        raise ValueError(
            f"must have {_SHORTEST_TOKEN} characters or more, of letters, digits and -._~; `openssl rand -hex 32` makes one"
        )
    return SecretStr(text)


class ServeSettings(Table):
    """The web page over the catalogue, `empiar-mirror serve`."""

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    """Address to listen at. Anything but this machine's own loopback asks every visitor for the token."""
    port: int = Field(default=8001, ge=0, le=65_535)
    """Port to listen at; 0 means a free one."""
    token: Annotated[SecretStr | None, AfterValidator(_token), EnvironmentOnly()] = None
    """What visitors log in with, 16 characters or more; from the environment only, never from the file. Where a token is needed and none is set, each start makes one and prints it."""
    refresh: Seconds = Field(default=300.0, ge=1)
    """How often the page takes a new snapshot of the catalogue, where that has changed; longer by itself where a snapshot takes long."""
    sql_time: Seconds = Field(default=1.0, gt=0, le=60)
    """Time that a query of a visitor may take."""
    sql_rows: PositiveInt = Field(default=1000, le=100_000)
    """Rows that a query of a visitor may return; `empiar-mirror query` has no such bound."""
