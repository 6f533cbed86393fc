"""The page of a micrograph: its picture tile by tile, its picks, and the one thing that can be changed here, versions of labels by hand."""

from __future__ import annotations

import functools
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from empiar_imaging.labels.by_hand import (
    MOST_PICKS,
    Author,
    HandVersion,
    Note,
    Pick,
    Sha256,
    first_mistake,
)
from empiar_imaging.pixels.pyramid import Pyramid
from empiar_imaging.pixels.tiles import TILE, LowPass
from empiar_mirror.by_hand import versions
from empiar_mirror.threads import in_thread
from empiar_mirror.web import told
from empiar_mirror.web.answers import (
    Answer,
    Receive,
    Scope,
    as_json,
    body_of,
    headers_of,
    plain,
    query_of,
)
from empiar_mirror.web.door import MAY_WRITE
from empiar_mirror.web.micrograph import Micrograph, NotShown, find_micrograph, labels_before
from empiar_mirror.web.overview import Summary
from empiar_mirror.web.prepared import CannotShow, Prepared
from empiar_mirror.web.snapshots import Snapshots
from empiar_schema.faults import BadLabels, StorageFault
from empiar_schema.times import iso

T = TypeVar("T")

#: A longer request is no set of picks: the most picks take less.
LARGEST_REQUEST: Final = 3 * 2**20
_READ_S: Final = 15.0
_LOW_PASS: Final = re.compile(r"[1-9][0-9]{0,2}(?:\.[0-9])?")
#: A tile is of bytes that do not change; whether they are still here is asked now and then.
_KEPT: Final = ("cache-control", "private, max-age=600")


class SaveRequest(BaseModel):
    """What the page sends: all picks, and which version they were made of."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    base: Annotated[int, Field(ge=0, le=versions.MOST_VERSIONS)]
    author: Author
    note: Note | None = None
    diameter_px: Annotated[float, Field(gt=0, le=1e6)] | None = None
    picture_sha256: Sha256
    picks: Annotated[tuple[Pick, ...], Field(max_length=MOST_PICKS, strict=False)]


class Annotating:
    """Answers what is asked of one micrograph, below ``/entry/<id>/micrograph/<file>``."""

    def __init__(
        self,
        root: Path,
        snapshots: Snapshots[Summary],
        render: Callable[..., bytes],
        *,
        prepared: Prepared | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._snapshots = snapshots
        self._render = render
        self._prepared = prepared or Prepared(root)
        self._now = now
        # Of its own, so that pages of numbers do not wait for a disk that is slow to save.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="labels")

    async def aclose(self) -> None:
        """Nothing is answered any more."""
        await self._prepared.aclose()
        self._threads.shutdown(cancel_futures=True)

    async def answer(
        self, empiar_id: int, file_id: int, rest: Sequence[str], scope: Scope, receive: Receive
    ) -> Answer:
        """One request that the door let in."""
        found = await self._asked(functools.partial(find_micrograph, empiar_id=empiar_id, file_id=file_id))
        if isinstance(found, NotShown):
            if rest:
                return plain(404, found.said)
            return Answer(
                self._render("error.html", title="Not to be looked at", error=found.said, status=404), 404
            )
        try:
            match rest:
                case []:
                    return Answer(self._render("micrograph.html", empiar_id=empiar_id, micrograph=found))
                case ["state"]:
                    return await self._state(found, may_save=bool(scope.get(MAY_WRITE)))
                case ["labels"]:
                    return await self._save(found, headers_of(scope), receive)
                case ["versions", number]:
                    return await in_thread(self._threads, self._version, found, int(number))
                case ["tile", level, column, row]:
                    place = (int(level), int(column), int(row))
                    return await self._tile(found, place, query_of(scope), headers_of(scope))
        except CannotShow as fault:
            return plain(503 if fault.busy else 422, str(fault))
        except StorageFault as fault:
            return plain(503, f"{fault}; {fault.hint}")
        return plain(404, "there is no such page; begin at /")

    async def _asked(self, query: Callable[[sqlite3.Connection], T]) -> T:
        def work() -> T:
            with self._snapshots.lease(seconds=_READ_S) as (_, connection):
                return query(connection)

        return await in_thread(self._threads, work)

    # --- looking --------------------------------------------------------------------------------------

    async def _tile(
        self,
        found: Micrograph,
        place: tuple[int, int, int],
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Answer:
        wanted = query.get("lowpass", "")
        if wanted and not _LOW_PASS.fullmatch(wanted):
            return plain(400, "lowpass is a resolution from 1 to 999, with one digit after the point at most")
        tag = f'"{found.picture.sha256[:32]}-{"-".join(map(str, place))}-{wanted}"'
        kept = (("etag", tag), _KEPT)
        if headers.get("if-none-match") == tag:
            return Answer(b"", 304, headers=kept)
        low_pass = LowPass(float(wanted) / (found.pixel_size_angstrom or 1.0)) if wanted else None
        tile = await self._prepared.tile(found.picture, *place, low_pass)
        if tile is None:
            return plain(404, "the picture has no such tile")
        return Answer(tile, media_type="image/png", headers=kept)

    async def _state(self, found: Micrograph, *, may_save: bool) -> Answer:
        pyramid = await self._prepared.pyramid(found.picture)
        picture = {
            "width": pyramid.width,
            "height": pyramid.height,
            "levels": [[level.width, level.height] for level in pyramid.levels],
            "tile": TILE,
            "pixel_size_angstrom": found.pixel_size_angstrom,
            "picture": found.picture.shown,
            "picture_sha256": found.picture.sha256,
            "may_save": may_save,
        }
        files = await in_thread(self._threads, versions.versions_of, self._root, found.remote)
        labels = await in_thread(self._threads, told.labels_of, files)
        if labels is None:
            read = functools.partial(
                labels_before, root=self._root, micrograph=found, height=pyramid.height, width=pyramid.width
            )
            before = await self._asked(read)
            labels = {
                "version": told.latest(files),
                "picks": told.shown(before.picks),
                "diameter_px": before.diameter_px,
                "naming": before.naming,
                # Versions that are there, of which none can be read.
                "problems": await in_thread(self._threads, told.problems, files),
            }
        named = await in_thread(self._threads, told.named, files)
        return as_json(picture | labels | {"versions": named, "version_count": len(files)})

    def _version(self, found: Micrograph, number: int) -> Answer:
        for file in versions.versions_of(self._root, found.remote):
            if file.number == number:
                try:
                    version = file.read()
                except BadLabels as fault:
                    return plain(422, str(fault))
                return as_json(told.facts(version) | {"picks": told.shown(version.picks)})
        return plain(404, "there is no such version")

    # --- saving ---------------------------------------------------------------------------------------

    async def _save(self, found: Micrograph, headers: Mapping[str, str], receive: Receive) -> Answer:
        stated = headers.get("content-length", "0")
        body = None
        if stated.isdecimal() and int(stated) <= LARGEST_REQUEST:
            body = await body_of(receive, most=LARGEST_REQUEST)
        if body is None:
            return plain(
                413, f"that is more than {MOST_PICKS:,} picks take", headers=(("connection", "close"),)
            )
        try:
            request = SaveRequest.model_validate_json(body)
        except ValidationError as error:
            return plain(400, f"nothing was saved: {first_mistake(error)}")
        if request.picture_sha256 != found.picture.sha256:
            return plain(
                412,
                "nothing was saved: the picture is another one than that which you see; open the page again in another tab",
            )
        pyramid = await self._prepared.pyramid(found.picture)
        return await in_thread(self._threads, self._keep, found, pyramid, request)

    def _keep(self, found: Micrograph, pyramid: Pyramid, request: SaveRequest) -> Answer:
        def make(number: int, aside: bool) -> HandVersion:
            return HandVersion(
                version=number,
                base=request.base,
                aside=aside,
                author=request.author,
                saved_at=iso(self._now()) or "",
                note=request.note or None,
                empiar_id=found.remote.empiar_id,
                micrograph=found.remote.path,
                micrograph_sha256=found.sha256,
                picture=found.picture.shown,
                picture_sha256=found.picture.sha256,
                width=pyramid.width,
                height=pyramid.height,
                pixel_size_angstrom=found.pixel_size_angstrom,
                diameter_px=request.diameter_px,
                picks=request.picks,
            )

        try:
            version = versions.save(self._root, found.remote, base=request.base, make=make)
        except ValidationError as error:
            return plain(400, f"nothing was saved: {first_mistake(error)}")
        except BadLabels as fault:
            return plain(409, f"nothing was saved: {fault}")
        except StorageFault as fault:
            return plain(507, f"nothing was saved: {fault}; {fault.hint}")
        files = versions.versions_of(self._root, found.remote)
        answer = told.facts(version) | {"versions": told.named(files), "current": told.latest(files)}
        return as_json(answer, status=409 if version.aside else 201)
