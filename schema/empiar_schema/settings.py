"""The configuration: one frozen tree, read once, passed down in parts. See docs/configuration.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from empiar_schema.cluster_settings import ClusterSettings
from empiar_schema.daemon_settings import DaemonSettings
from empiar_schema.eviction_settings import EvictSettings, PinSettings
from empiar_schema.faults import ConfigFault
from empiar_schema.hook_settings import HookSettings
from empiar_schema.hours import checked_hours
from empiar_schema.layout_views import (
    DEPOSITED,
    FRAME_AVERAGE,
    JPEG,
    PRESETS,
    ViewRecipe,
    is_built_in,
    unknown_view,
)
from empiar_schema.notify_settings import NotifySettings
from empiar_schema.order_settings import OrderSettings
from empiar_schema.query_settings import QuerySettings
from empiar_schema.role_settings import RoleOverride
from empiar_schema.serve_settings import ServeSettings
from empiar_schema.settings_types import Bytes, EnvironmentOnly, FolderName, Seconds, Table, each_once
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from empiar_schema.view_settings import ViewSettings


def _base_url(url: str, *schemes: str) -> str:
    parts = urlsplit(url)  # raises ValueError itself for a port or a bracket that is none
    if parts.scheme not in schemes or not parts.hostname or _UNPRINTABLE.search(url):
        raise ValueError(f"must be an address such as {schemes[0]}://host/path")
    if parts.username or parts.password:
        raise ValueError(
            "must not hold a user name or a password: addresses appear in logs and in the catalogue"
        )
    if parts.query or parts.fragment:
        raise ValueError("must end with a path, without ? or #")
    return url.rstrip("/")


def _http_url(url: str) -> str:
    return _base_url(url, "https", "http")


def _ftp_url(url: str) -> str:
    return _base_url(url, "ftp")


_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f]")
HttpUrl = Annotated[str, AfterValidator(_http_url)]
FtpUrl = Annotated[str, AfterValidator(_ftp_url)]


def _header_text(text: str) -> str:
    # It becomes part of a request header, where a line break would be a header of its own.
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII text on one line")
    return text.strip()


def _quiet_hours(text: str) -> str:
    begin, _, end = checked_hours(text).partition("-")
    if text and begin == end:
        raise ValueError("would leave no hour in which to crawl")
    return text


def _fraction(value: object) -> object:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(f"{value!r} is not a share; write 0.95 or 95%") from None
    return value


Fraction = Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)]


class ArchiveSettings(Table):
    """Where the archive is. The defaults are EMPIAR's public addresses."""

    api_url: HttpUrl = "https://www.ebi.ac.uk/empiar/api"
    """The REST API; an entry is at `entry/{id}` below it."""
    search_url: HttpUrl = "https://www.ebi.ac.uk/emdb/api/empiar/search"
    """The search that enumerates entries and says what changed since a day."""
    site_url: HttpUrl = "https://www.ebi.ac.uk/empiar"
    """The web site, whose directory-tree JSON checks listings."""
    https_url: HttpUrl = "https://ftp.ebi.ac.uk/empiar/world_availability"
    """The file tree over HTTPS."""
    ftp_url: FtpUrl = "ftp://ftp.ebi.ac.uk/empiar/world_availability"
    """The file tree over FTP."""
    globus_collection: str = "47772002-3e5b-4fd3-b97c-18cee38d6df2"
    """UUID of the archive's Globus collection."""
    globus_path: str = "/gridftp/empiar/world_availability"
    """The file tree's path in that collection."""


class CrawlSettings(Table):
    """How the archive is asked for metadata and listings."""

    interval: Seconds = Field(default=6 * 3600.0, gt=0)
    """How long an entry's metadata counts as fresh. An entry that is asked for by its id is listed anew when older than this."""
    relist: Seconds = Field(default=14 * 86_400.0, gt=0)
    """Within this time every file listing is read anew though the metadata does not change: the oldest first, evenly spread, behind what is new and changed; listing all of EMPIAR is half a day of requests."""
    sweep_entries_per_hour: PositiveInt | None = Field(default=None, examples=[60])
    """How many entries an hour the daemon lists anew for the age of their listing alone, at most; not set means up to four times what an even sweep needs, to make up for time that was missed."""
    quiet_hours: Annotated[str, AfterValidator(_quiet_hours)] = Field(default="", examples=["08:00-18:00"])
    """Local hours in which the daemon asks the archive for no metadata and listings; empty means none. What is wanted is transferred all the same, and `crawl` and `sync` do what they are told."""
    requests_per_s: PositiveFloat = 10.0
    """Requests a second and host, at most."""
    connections: PositiveInt = Field(default=4, le=64)
    """Connections a host for metadata and listings, at most."""
    contact: Annotated[str, AfterValidator(_header_text)] = ""
    """An e-mail address or web page of whoever runs this mirror; it goes into the User-Agent."""
    listing: Annotated[tuple[Literal["ftp", "https", "globus", "tree"], ...], AfterValidator(each_once)] = (
        Field(default=("ftp", "https"), min_length=1)
    )
    """Sources of file listings, in the order in which they are tried: ftp, https, globus, which needs a login, and tree, the web site's own directory tree, whose sizes stay estimates and which has no times: a last resort."""
    exact_sizes: int = Field(default=2_000, ge=0)
    """How many HEAD requests an entry may cost where a listing rounds its sizes; the rest stay estimates until the transfer."""


class EmdbSettings(Table):
    """What EMDB says of the maps that entries name; see docs/emdb.md."""

    enabled: bool = True
    """Whether EMDB is asked, behind each crawl, by `empiar-mirror crawl` and the daemon."""
    url: HttpUrl | None = Field(default=None, examples=["https://www.ebi.ac.uk/emdb/api"])
    """EMDB's API; an entry is at `entry/{id}` below it. Not set means the one that `archive.search_url` belongs to."""
    interval: Seconds = Field(default=30 * 86_400.0, gt=0)
    """How long what EMDB said of an entry counts as fresh. It is asked within the limits of `[crawl]`, one entry after the other."""


class DiskSettings(Table):
    """How full the disk may get."""

    high_watermark: Fraction = 0.95
    """Nothing new starts when it would fill the file system beyond this."""
    low_watermark: Fraction = 0.90
    """Paused work goes on when the file system is below this again."""
    quota: Bytes | None = Field(default=None, gt=0, examples=["500TiB"])
    """Bytes that this mirror may hold in all, derived files included; not set means no limit of its own."""

    @model_validator(mode="after")
    def _low_below_high(self) -> Self:
        if self.low_watermark > self.high_watermark:
            raise ValueError(
                f"low_watermark ({self.low_watermark:g}) must not be above high_watermark ({self.high_watermark:g})"
            )
        return self


def _set_secret(secret: SecretStr | None) -> SecretStr | None:
    # Compose files and service units pass on variables that are empty.
    return secret if secret is not None and secret.get_secret_value().strip() else None


class GlobusSettings(Table):
    """The Globus account and collection of this mirror; secrets come from the environment or the token store only."""

    collection: str = ""
    """UUID of the collection that exports this mirror's storage."""
    path: str = "/"
    """Where `root` is in that collection."""
    storage: Literal["here", "elsewhere"] = "here"
    """Whether the collection's storage is this machine's `root`; elsewhere means that what Globus brings cannot be verified from here."""
    client_id: str = ""
    """Client id of the registered application."""
    client_secret: Annotated[SecretStr | None, AfterValidator(_set_secret), EnvironmentOnly()] = None
    """Secret of an application that acts for itself, without anybody's login; from the environment only, never from the file."""
    token_file: Path | None = Field(default=None, examples=["/etc/empiar-mirror/globus-tokens.json"])
    """Where the login's tokens are kept, readable by their owner alone; not set means `globus-tokens.json` in `root`."""
    from_bytes: Bytes = Field(default=4 * 10**9, ge=0)
    """An entry goes by Globus, where transfer.channels allows it, when at least so much of it is missing; EMPIAR itself advises Globus above 4 GB."""
    tasks: PositiveInt = Field(default=3, le=100)
    """Tasks of this mirror that run or wait at once; an account has three places, which it shares with your own transfers."""
    bundle_bytes: Bytes = Field(default=2 * 2**40, ge=1)
    """A task is given no more bytes than this, unless a single file is larger."""
    bundle_files: PositiveInt = Field(default=20_000, le=100_000)
    """A task is given no more files than this."""
    poll: Seconds = Field(default=30.0, gt=0)
    """How often the tasks are asked how they stand."""
    stall: Seconds = Field(default=2 * 3600.0, gt=0)
    """A task that brings nothing for so long is cancelled, and what it withheld goes by another channel."""
    deadline: Seconds = Field(default=7 * 86_400.0, gt=0)
    """Time after which the service itself gives a task up."""
    retries: int = Field(default=2, ge=0)
    """How often files of failed tasks are submitted again before they go by another channel, or are parked where there is none."""
    transfer_url: HttpUrl = "https://transfer.api.globus.org"
    """The Transfer service."""
    auth_url: HttpUrl = "https://auth.globus.org"
    """The login service."""
    web_url: HttpUrl = "https://app.globus.org"
    """The web app that shows tasks to people; only for links."""


class ArrangeSettings(Table):
    """The standard layouts."""

    views: Annotated[tuple[FolderName, ...], AfterValidator(each_once)] = ("cryoppp",)
    """Layout views that are built: presets (cryoppp, refined, labelled, small, trial, lite, relion) and those declared as [view.NAME]."""
    link: Literal["auto", "hardlink", "reflink", "symlink", "copy"] = "auto"
    """How a layout refers to the archive's files; auto takes the first that the file system can do."""


class ScrubSettings(Table):
    """Regular re-reading of what is here."""

    hours: Annotated[str, AfterValidator(checked_hours)] = ""
    """Hours in which scrubbing is allowed, such as `22:00-06:00`; empty means always."""
    bytes_per_s: Bytes | None = Field(default=None, gt=0, examples=["100MB"])
    """How fast it may read; not set means as fast as the disk."""
    period: Seconds = Field(default=90 * 86_400.0, gt=0)
    """Every file is read again within this time."""


def _table_in_json(value: object) -> object:
    """A table given in a variable of the environment."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


class SubscriptionSettings(Table):
    """A subscription that stands in the file, so that a site's policy can be under version control; see docs/subscriptions.md."""

    sql: str = Field(examples=["SELECT empiar_id FROM entries WHERE scale = 'molecule'"])
    """One SELECT that returns a column empiar_id (whole entries) or file_id (files)."""
    view: FolderName | None = Field(default=None, examples=["small"])
    """Of the entries, only what this layout view takes."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Higher comes first."""
    budget: Bytes | None = Field(default=None, gt=0, examples=["20TiB"])
    """Bytes that it may make wanted in all; not set means no limit of its own."""
    channel: Channel | None = Field(default=None, examples=["globus"])
    """Channel for files that nobody else wants, in every transfer that does not name another."""
    quota: Bytes | None = Field(default=None, gt=0, examples=["5TiB"])
    """Bytes that its files may hold here; at the quota they wait. Not set means no limit of its own."""
    share: float = Field(default=1.0, ge=0.001, le=1000)
    """Its part of what is brought among subscriptions of equal priority: with 2, twice as much as with 1."""
    deadline: Seconds | None = Field(default=None, gt=0, examples=["30d"])
    """Its files should be here so long after they became wanted; they go first when that becomes tight."""
    new_only: bool = False
    """Whether only what the archive shows after the subscription was made is wanted."""


class MakingSettings(Table):
    """How derived files are made of those that are here. What is made, tables [hook.NAME] say (docs/hooks.md)."""

    workers: PositiveInt | None = Field(default=None, le=1024, examples=[8])
    """Images worked on at once, one a process; not set means one a core. A hook that uses several threads counts for as many."""
    thumbnails: bool = False
    """Whether each image gets a small picture with its picks drawn, and one of its power spectrum."""
    particle_diameters: Annotated[dict[int, PositiveFloat], BeforeValidator(_table_in_json)] = Field(
        default={}, examples=[{"10017": 108}]
    )
    """The particle's diameter by entry, in pixels of its micrographs, where the labels state none: `{ 10017 = 108 }`."""
    box: PositiveInt | None = Field(default=None, le=8192, examples=[256])
    """Side, in pixels, of particles that are cut out of micrographs; not set means one and a half diameters."""
    edge: Literal["skip", "fill", "clamp"] = "fill"
    """Particles whose box reaches beyond the image: left out, filled up with the image's mean, or moved inside. Only `fill` and `clamp` have an image for every row."""
    invert: bool = False
    """Whether cut-out particles have their contrast turned round."""
    normalise: bool = True
    """Whether cut-out particles have mean 0 and standard deviation 1 outside of the particle, as RELION wants them."""


class Settings(Table):
    """The whole configuration."""

    root: Path = Path("empiar")
    """Everything that is written lies below this folder; a relative one is seen from the configuration file."""
    role: tuple[RoleOverride, ...] = ()
    """Roles that are stated instead of judged: tables `[[role]]`, one for each statement."""
    archive: ArchiveSettings = ArchiveSettings()
    crawl: CrawlSettings = CrawlSettings()
    emdb: EmdbSettings = EmdbSettings()
    transfer: TransferSettings = TransferSettings()
    disk: DiskSettings = DiskSettings()
    globus: GlobusSettings = GlobusSettings()
    arrange: ArrangeSettings = ArrangeSettings()
    scrub: ScrubSettings = ScrubSettings()
    making: MakingSettings = MakingSettings()
    daemon: DaemonSettings = DaemonSettings()
    order: OrderSettings = OrderSettings()
    cluster: ClusterSettings = ClusterSettings()
    serve: ServeSettings = ServeSettings()
    hook: dict[FolderName, HookSettings] = Field(default={})
    """External programs that run on arrived files, by name; see docs/hooks.md."""
    view: dict[FolderName, ViewSettings] = Field(default={})
    """Layout views of your own, by name; see docs/layouts.md."""
    notify: dict[FolderName, NotifySettings] = Field(default={})
    """Who is told what happens, by name; see docs/operations.md."""
    subscription: dict[FolderName, SubscriptionSettings] = Field(default={})
    """Standing selections, by name; see docs/subscriptions.md."""
    pin: dict[FolderName, PinSettings] = Field(default={})
    """What eviction never touches, by name; see docs/disk.md."""
    evict: dict[FolderName, EvictSettings] = Field(default={})
    """What may be removed to make room, by name; see docs/disk.md."""
    query: dict[FolderName, QuerySettings] = Field(default={})
    """Saved queries of your own, by name; see docs/query.md."""

    @model_validator(mode="after")
    def _sources_end(self) -> Self:
        if "deposited" in self.hook:
            raise ValueError("hook.deposited: this name stands for the files of the archive; choose another")
        for name in self.hook:
            if is_built_in(name):
                raise ValueError(f"hook.{name}: a maker of this product has this name; choose another")
            seen, at = {name}, self.hook[name].source
            while at in self.hook:
                if at in seen:
                    raise ValueError(
                        f"hook.{name}.source leads back to {at}: it would wait for its own products"
                    )
                seen.add(at)
                at = self.hook[at].source
        return self

    @model_validator(mode="after")
    def _views_are_known(self) -> Self:
        wrong = [name for name in self.arrange.views if not self.has_view(name)]
        if wrong:
            error = PydanticCustomError("unknown_view", "{text}", {"text": unknown_view(wrong[0], self.view)})
            place = InitErrorDetails(type=error, loc=("arrange", "views"), input=self.arrange.views)
            raise ValidationError.from_exception_data("Settings", [place])
        return self

    @model_validator(mode="after")
    def _views_of_subscriptions_are_known(self) -> Self:
        for name, subscription in self.subscription.items():
            if subscription.view is not None and not self.has_view(subscription.view):
                text = unknown_view(subscription.view, self.view)
                error = PydanticCustomError("unknown_view", "{text}", {"text": text})
                place = InitErrorDetails(
                    type=error, loc=("subscription", name, "view"), input=subscription.view
                )
                raise ValidationError.from_exception_data("Settings", [place])
        return self

    @model_validator(mode="after")
    def _makers_of_views_are_known(self) -> Self:
        known = [DEPOSITED, JPEG, FRAME_AVERAGE, *sorted(self.hook)]
        for name, view in self.view.items():
            maker = view.recipe(name).micrographs
            if maker not in known:
                error = PydanticCustomError(
                    "unknown_maker",
                    "{text}",
                    {"text": f"nothing of this name makes images; there are {', '.join(known)}"},
                )
                place = InitErrorDetails(type=error, loc=("view", name, "micrographs"), input=maker)
                raise ValidationError.from_exception_data("Settings", [place])
        return self

    @property
    def emdb_url(self) -> str | None:
        """EMDB's API; None where it is not to be asked, or no address of it is known."""
        if not self.emdb.enabled:
            return None
        base, found, _ = self.archive.search_url.rpartition("/empiar/search")
        return self.emdb.url or (base if found else None)

    def has_view(self, view: str) -> bool:
        """Whether there is a layout view of this name: a preset or a declared one."""
        return view in self.view or view in PRESETS

    def recipe(self, view: str) -> ViewRecipe:
        """The layout view of this name: a preset or a declared one, whether or not `arrange.views` names it.

        Raises:
            ConfigFault: there is none.
        """
        if view in self.view:
            return self.view[view].recipe(view)
        if view in PRESETS:
            return PRESETS[view]
        raise ConfigFault(
            unknown_view(view, self.view), hint=f"declare it in the configuration: [view.{view}]"
        )

    @property
    def recipes(self) -> tuple[ViewRecipe, ...]:
        """The views that are built by themselves: those of `arrange.views`."""
        return tuple(self.recipe(name) for name in self.arrange.views)
