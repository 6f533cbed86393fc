"""The configuration of transfers: the table ``[transfer]``, and its limits, each a table ``[[transfer.limit]]``."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from empiar_schema.hours import WEEK_MINUTES, checked_days, checked_hours, open_at_minute
from empiar_schema.settings_types import Bytes, Seconds, Table, each_once
from empiar_schema.sizes import parse_size
from empiar_schema.states import Channel


def _rate(value: object) -> object:
    return value if value == "none" else parse_size(value)


def _streaming(channel: Channel | None) -> Channel | None:
    if channel is Channel.GLOBUS:
        raise ValueError("must be https or ftp: how fast a Globus task goes is the service's own affair")
    return channel


class LimitSettings(Table):
    """Bandwidth and connections, at all times or in hours of some days. See docs/operations.md."""

    days: Annotated[str, AfterValidator(checked_days)] = Field(default="", examples=["Mon-Fri"])
    """Days on which the hours begin, such as `Mon-Fri` or `Sat,Sun`; empty means every day."""
    hours: Annotated[str, AfterValidator(checked_hours)] = Field(default="", examples=["08:00-18:00"])
    """Hours of this machine's local time, such as `22:00-06:00`; empty means the whole day."""
    bytes_per_s: Annotated[int | Literal["none"] | None, BeforeValidator(_rate)] = Field(
        default=None, examples=["50MB"]
    )
    """Bytes a second in that time: `0` means that nothing is transferred, `none` that there is no limit; not set means as at other times."""
    connections: PositiveInt | None = Field(default=None, le=64, examples=[4])
    """Connections in that time, at most; not set means as at other times."""
    channel: Annotated[Channel | None, AfterValidator(_streaming)] = Field(default=None, examples=["ftp"])
    """Only what comes by this channel, https or ftp; not set means by any."""
    host: str | None = Field(default=None, min_length=1, examples=["ftp.ebi.ac.uk"])
    """Only what comes from this host (`host:port` where the port is an unusual one); not set means from any."""

    @property
    def at_all_times(self) -> bool:
        """Whether it holds whenever no limit with hours or days does."""
        return not self.days and not self.hours

    @property
    def scope(self) -> tuple[Channel | None, str | None]:
        """What it concerns. Limits of one scope are one timetable; those of several scopes hold at once."""
        return self.channel, self.host.lower() if self.host else None

    def open_at_minute(self, of_week: int) -> bool:
        """Whether it holds in this minute of the week, from Monday 00:00 on."""
        return open_at_minute(of_week, self.hours, days=self.days)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.bytes_per_s is None and self.connections is None:
            raise ValueError("limits nothing; give bytes_per_s, connections or both")
        if self.bytes_per_s not in (None, "none") and int(self.bytes_per_s) < 0:
            raise ValueError("bytes_per_s must be 0, which pauses, or more")
        return self


class TransferSettings(Table):
    """How files are fetched."""

    channels: Annotated[tuple[Channel, ...], AfterValidator(each_once)] = Field(
        default=(Channel.HTTPS, Channel.FTP), min_length=1
    )
    """Channels in order of preference; a file falls back from one to the next."""
    connections: PositiveInt = Field(default=8, le=64)
    """Connections a host for transfers, at most; of each channel, the number that is used adapts to what the server bears."""
    connections_per_file: PositiveInt = Field(default=4, le=7)
    """Connections for one large file, at most."""
    requests_per_s: PositiveFloat = 200.0
    """Requests a second and host for transfers, at most."""
    bandwidth: Bytes | None = Field(default=None, ge=0, examples=["100MB"])
    """Bytes a second in all, over HTTPS and FTP, where no `[[transfer.limit]]` says otherwise: `0` means that nothing is transferred; not set means no limit."""
    limit: tuple[LimitSettings, ...] = ()
    """Limits by time of day, channel and host: tables `[[transfer.limit]]`, one for each."""
    stall_s: Seconds = Field(default=12.0, gt=0)
    """Time without a byte after which an attempt ends."""
    retries: int = Field(default=5, ge=0)
    """Fruitless attempts in a row before a file is parked; progress renews the budget."""
    retry_wait_s: Seconds = Field(default=2.0, ge=0)
    """First wait between attempts; doubles, with jitter, up to five minutes. An error text in a file's place is believed if it is there after 30 such waits."""
    segment_bytes: Bytes = Field(default=16 * 2**20, ge=2**20)
    """Large files are fetched in ranges of this size when several connections share one."""

    @model_validator(mode="after")
    def _timetables_hold(self) -> Self:
        for number, one in enumerate(self.limit, 1):
            if one.connections is not None and one.connections > self.connections:
                raise ValueError(
                    f"limit number {number} allows {one.connections} connections, more than transfer.connections ({self.connections}), which is the ceiling: raise that"
                )
        numbered = list(enumerate(self.limit, 1))
        for (first, one), (second, other) in combinations(numbered, 2):
            if one.scope == other.scope and _overlap(one, other):
                raise ValueError(
                    f"limits number {first} and {second} concern the same transfers at the same time: change the hours or days of one"
                )
        return self


def _overlap(one: LimitSettings, other: LimitSettings) -> bool:
    """Whether both hold at some time. One without hours gives way to those with hours."""
    if one.at_all_times or other.at_all_times:
        return one.at_all_times and other.at_all_times
    return any(one.open_at_minute(m) and other.open_at_minute(m) for m in range(WEEK_MINUTES))
