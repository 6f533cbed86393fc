"""The configuration of work on other machines: the table ``[cluster]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from empiar_schema.settings_types import Bytes, Seconds, Table, each_once

#: What can be handed out.
ClusterWork = Literal["make", "verify", "scrub", "transfer"]

_ADDRESS: Final = re.compile(r"(tcp|tls)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]):(\d{1,5})")


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if text and (found is None or not 0 < int(found[3]) <= 65_535):
        raise ValueError(
            "must be an address such as tcp://head.example.org:8786 or tls://10.0.0.1:8786, or empty"
        )
    return text


def _whole_path(path: Path | None) -> Path | None:
    if path is not None and not path.is_absolute():
        raise ValueError("must be a whole path, such as /mnt/empiar")
    return path


WholePath = Annotated[Path | None, AfterValidator(_whole_path)]


class ClusterSettings(Table):
    """Other machines that share the file system and do work on files; the extra `cluster` is needed (docs/cluster.md)."""

    scheduler: Annotated[str, AfterValidator(_address)] = ""
    """Address of the Dask scheduler, `tcp://host:port` or `tls://host:port`; empty means that this machine does all the work."""
    work: Annotated[tuple[ClusterWork, ...], AfterValidator(each_once)] = ("make", "verify", "scrub")
    """What is handed out: make (previews, averages, stacks, labels), verify, scrub, and, if named, transfer (large files are fetched by workers); what is not named is done on this machine."""
    root: WholePath = Field(default=None, examples=["/mnt/empiar"])
    """Where the workers see `root`; not set means at the same path."""
    places: PositiveInt = Field(default=64, le=4096)
    """Pieces of work that are handed out at once, at most; a worker is given no more than it has threads."""
    parcel_bytes: Bytes = Field(default=2**30, ge=1)
    """Files that are only read are handed out together up to so many bytes; a larger file goes alone."""
    transfer_bytes: Bytes = Field(default=2**27, ge=2**20)
    """With `transfer` in `work`, files of this size or more are fetched by workers that have room; smaller ones, and what no worker takes, by this machine."""
    connect: Seconds = Field(default=10.0, gt=0)
    """How long the scheduler may take to answer."""
    lease: Seconds = Field(default=60.0, gt=0)
    """A worker that gives no sign of life for so long has lost its work, which another is given."""
    losses: PositiveInt = Field(default=3, le=100)
    """How often a piece of work may be lost with its worker before it is given up."""
    otherwise: Literal["wait", "local"] = "wait"
    """What happens while the scheduler cannot be reached: the work waits, or this machine does it. Transfers never wait for it."""
    ca_file: WholePath = Field(default=None, examples=["/etc/empiar-mirror/dask-ca.pem"])
    """Certificate authority of the cluster, for `tls://`."""
    cert_file: WholePath = Field(default=None, examples=["/etc/empiar-mirror/dask-cert.pem"])
    """This machine's certificate, for `tls://`."""
    key_file: WholePath = Field(default=None, examples=["/etc/empiar-mirror/dask-key.pem"])
    """Its key, for `tls://`."""

    @model_validator(mode="after")
    def _tls_has_files(self) -> Self:
        files = (self.ca_file, self.cert_file, self.key_file)
        if self.scheduler.startswith("tls://") and None in files:
            raise ValueError("a tls:// scheduler needs ca_file, cert_file and key_file")
        if self.scheduler.startswith("tcp://") and any(files):
            raise ValueError(
                "ca_file, cert_file and key_file are for a scheduler at tls://, and this one is at tcp://"
            )
        return self

    def hands_out(self, work: ClusterWork) -> bool:
        """Whether other machines do this work."""
        return bool(self.scheduler) and work in self.work
